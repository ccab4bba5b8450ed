"""The modules that a process loads before its first vector."""

import subprocess
import sys

# each takes 10 to 60 ms, and none has a part in one vector
IDLE = (
    "asyncio",
    "email",
    "importlib.metadata",
    "numpy.ma",
    "openvino.tools.ovc",
    "rich",
    "ssl",
    "tqdm",
    "torch",
    "transformers",
)


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()


def test_the_first_vector_loads_nothing_it_does_not_use() -> None:
    script = "import sys; from medembed import MedEmbed; MedEmbed(threads=1).encode('fever')\n"
    assert run(f"{script}print([name for name in {IDLE} if name in sys.modules])") == "[]"


def test_openvinos_converter_is_there_for_who_calls_it() -> None:
    script = "import sys; from medembed.runtime.engines import openvino_engine; import openvino\n"
    script += "assert 'openvino.tools.ovc' not in sys.modules\n"
    script += "try: openvino.convert_model(None)\n"
    script += "except Exception as error: print(type(error).__module__)\n"
    script += "assert 'openvino_telemetry' not in sys.modules\n"
    script += "from openvino.tools.ovc import convert_model; assert openvino.convert_model is convert_model"
    assert run(script) == "openvino.tools.ovc.error"
