"""The build of the shared library; all else stands in pyproject.toml."""

from setuptools import Extension, setup

# Only this one file is compiled for these instructions, and Python loads it where the CPU has them.
AMX_BF16 = "fma avx512f avx512bw avx512dq avx512vl avx512bf16 amx-tile amx-bf16"

setup(
    ext_modules=[
        Extension(
            "medembed_kernels.amx_bf16",
            ["amx_bf16.cpp"],
            depends=["amx_tiles.h"],
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-fno-math-errno",
                "-fvisibility=hidden",
                "-mtune=sapphirerapids",
                *(f"-m{name}" for name in AMX_BF16.split()),
            ],
            py_limited_api=True,
        )
    ],
    # the library has no line of Python's C interface, so one build serves every Python from 3.11 on
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
