"""The choice of the engine that runs a model on this machine. No other place chooses."""

import importlib.util
import logging
from collections.abc import Sequence
from typing import Literal

from medembed.checkpoints.checkpoint import Checkpoint
from medembed.errors import DeviceError, PrecisionError, SettingError, UnsupportedModelError
from medembed.extras import install_command, require
from medembed.runtime import hardware
from medembed.runtime.engines.interface import Engine, Precision

log = logging.getLogger("medembed")

Device = str | Sequence[str]
PrecisionSetting = Literal["auto", "fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[PrecisionSetting, ...] = ("auto", "fp32", "bf16", "fp16", "int8")


def load_engine(checkpoint: Checkpoint, *, device: Device, precision: PrecisionSetting, threads: int | None) -> Engine:
    """Start the engine that runs a model best here, and say in one log line which and why.

    Args:
        checkpoint: The model.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or a list of CUDA devices.
        precision: ``"auto"``, or one of ``"fp32"``, ``"bf16"``, ``"fp16"``, ``"int8"``.
        threads: CPU threads; None for one per usable physical core.

    Returns:
        A running engine.

    Raises:
        DeviceError: No such device here.
        PrecisionError: The device cannot run that precision well.
        SettingError: ``threads`` below 1.
        MissingExtraError: The device or the architecture needs torch, and it is not installed.
        CheckpointError: The weights do not fit.
    """
    if precision not in PRECISIONS:
        raise PrecisionError(f"precision {precision!r} is unknown: choose one of {', '.join(PRECISIONS)}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise SettingError(f"threads={threads!r}: give at least 1, or None for one per physical core")
    devices, why = _devices(device)
    if devices == ["cpu"]:
        engine, how = _cpu_engine(checkpoint, precision, threads or hardware.usable_cores())
    else:
        from medembed.runtime.engines.torch_engine import TorchEngine

        engine = TorchEngine(checkpoint, devices, None if precision == "auto" else precision, threads)
        how = "torch runs accelerators"
    log.info(
        "%s: engine %s, device %s, precision %s, concurrency %d (%s; %s)",
        checkpoint.spec.name, engine.name, engine.device, engine.precision, engine.concurrency, why, how,
    )  # fmt: skip
    return engine


def _devices(device: Device) -> tuple[list[str], str]:
    """Concrete devices, and why."""
    asked = [device] if isinstance(device, str) else [str(name) for name in device]
    if not asked or any(name.partition(":")[0] not in ("auto", "cpu", "cuda", "mps") for name in asked):
        raise DeviceError(
            f"device {device!r} is unknown: choose 'auto', 'cpu', 'cuda', 'cuda:N', 'mps' or a list of CUDA devices"
        )
    if len(asked) > 1 and not all(name.startswith("cuda:") for name in asked):
        raise DeviceError(f"device {asked}: only CUDA devices can be combined, for instance ['cuda:0', 'cuda:1']")
    if asked != ["auto"]:
        return asked, "device as asked"
    return _auto_device()


def _auto_device() -> tuple[list[str], str]:
    kind = hardware.accelerator()
    if kind is None:
        return ["cpu"], "no accelerator found"
    if importlib.util.find_spec("torch") is None:
        log.warning(
            "this machine has a %s device, but torch is not installed, so the CPU is used: %s",
            kind,
            install_command("torch"),
        )
        return ["cpu"], f"{kind} present but torch missing"
    torch = require("torch")
    usable = torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
    return ([kind], f"{kind} found") if usable else (["cpu"], f"torch cannot use the {kind} device")


def _cpu_engine(checkpoint: Checkpoint, asked: PrecisionSetting, threads: int) -> tuple[Engine, str]:
    from medembed.runtime.engines import kernel_engine

    passed_over = ""
    if asked in ("auto", "bf16") and kernel_engine.installed():
        missing = kernel_engine.missing(checkpoint.config)
        if missing is None:
            return kernel_engine.KernelEngine(checkpoint, threads), "medembed-kernels runs BERT in bf16 on this CPU"
        passed_over = f"; medembed-kernels is not used: {missing}"
    from medembed.runtime.engines import openvino_engine

    if openvino_engine.can_run(checkpoint.config):
        precision, why = _cpu_precision(asked, has_bf16=openvino_engine.cpu_has_bf16())
        return openvino_engine.OpenVinoEngine(checkpoint, precision, threads), why + passed_over
    kind = checkpoint.config.get("model_type")
    if importlib.util.find_spec("torch") is None:
        raise UnsupportedModelError(
            f"{checkpoint.spec.name} is a {kind!r} model; without torch, medembed runs BERT models only: {install_command('torch')}"
        )
    if asked not in ("auto", "fp32"):
        raise PrecisionError(
            f"precision {asked!r} on the CPU needs the OpenVINO engine, which does not know {kind!r} models: use 'fp32' or 'auto'"
        )
    from medembed.runtime.engines.torch_engine import TorchEngine

    return TorchEngine(
        checkpoint, ["cpu"], "fp32", threads
    ), f"OpenVINO engine does not know {kind!r} models, torch does"


def _cpu_precision(asked: PrecisionSetting, *, has_bf16: bool) -> tuple[Precision, str]:
    """The CPU's precision and why: emulated, half precision falls to a hundredth of the speed."""
    if asked == "auto":
        if has_bf16 and hardware.cpu_loses_by_bf16():
            return "fp32", "the CPU knows bf16, but has no matrix units (AMX) and is slower in it"
        return ("bf16", "the CPU multiplies bf16 natively") if has_bf16 else ("fp32", "the CPU has no bf16 units")
    if asked == "fp16":
        raise PrecisionError(
            "precision 'fp16' is for GPUs: on the CPU use 'auto', 'fp32', 'int8', or 'bf16' where the CPU has it"
        )
    if asked == "bf16" and not has_bf16:
        raise PrecisionError(
            "this CPU has no bf16 units (amx_bf16 or avx512_bf16), and emulating them is far slower than 'fp32': use 'auto'"
        )
    return asked, "precision as asked"
