"""From the kernels' Python to an object file: Numba's typing, LLVM's optimiser, one target at a time.

Runs in a process of its own, `python -m detectors.kernels.compiler FOLDER TARGET`, never in the daemon:
the width of the vectors is fixed when the kernels are imported, and Numba must not optimise for the
build host before the target is known. Only public interfaces: `numba.cfunc`, `inspect_llvm`, llvmlite.

Every function becomes internal but the entries, so that no symbol of Numba's runtime remains; a
declaration that is left fails the build. One JSON line a step goes to standard output.
"""
# mypy: ignore-errors

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from detectors.kernels.manifest import write_checked


@dataclass(frozen=True, slots=True)
class Target:
    """What to compile for. `host` is this machine's own processor."""

    name: str
    lanes: int
    fma: bool
    triple: str = ""
    cpu: str = ""
    features: str = ""


X86 = "x86_64-unknown-linux-gnu"
TARGETS = {
    target.name: target
    for target in (
        Target("v4", 16, True, X86, "x86-64-v4", "-prefer-256-bit"),
        Target("v3", 8, True, X86, "x86-64-v3"),
        Target("aarch64", 8, True, "aarch64-unknown-linux-gnu", "generic"),
        Target("jit-16", 16, True),
        Target("jit-8", 8, True),
        Target("jit-generic", 8, False),
    )
}
MODULES = ("forward", "train", "ks")


def compile_target(target: Target, say) -> bytes:  # noqa: ANN001 - a callable that takes words
    """Return the relocatable object with every entry of every kernel module."""
    os.environ["PRESAGED_KERNEL_LANES"] = str(target.lanes)
    os.environ["PRESAGED_KERNEL_FMA"] = str(int(target.fma))
    os.environ |= {"NUMBA_OPT": "0", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    from importlib import import_module  # noqa: PLC0415 - only now is the environment complete

    from llvmlite import binding as llvm  # noqa: PLC0415

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = _machine(llvm, target)
    entries = {}
    for name in MODULES:
        entries |= import_module(f"detectors.kernels.{name}").ENTRIES
    whole = None
    for number, (name, (function, signature)) in enumerate(entries.items()):
        module = _lower(llvm, machine, name, function, signature)
        if whole is None:
            whole = module
        else:
            whole.link_in(module)
        say((number + 1) / (len(entries) + 1), f"{name} typed")
    _optimise(llvm, machine, whole)
    missing = [f.name for f in whole.functions if f.is_declaration and not f.name.startswith("llvm.")]
    if missing:
        raise RuntimeError(f"the kernels need {', '.join(missing)}, which no process provides")
    code = machine.emit_object(whole)
    say(1.0, f"{len(code)} bytes of code")
    return code


def _machine(llvm, target: Target):  # noqa: ANN001, ANN202
    if target.triple:
        triple, cpu, features = target.triple, target.cpu, target.features
    else:
        triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten()
        features += ",-prefer-256-bit" if target.lanes == 16 else ""  # noqa: PLR2004
        if target.name == "jit-generic":
            cpu, features = "generic", ""
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="small" if target.triple else "default", jit=False
    )


def _lower(llvm, machine, name: str, function, signature):  # noqa: ANN001, ANN202
    """Return the module of one entry: under its own name, for the target, everything else internal."""
    from numba import cfunc  # noqa: PLC0415

    compiled = cfunc(signature, nopython=True, error_model="numpy", boundscheck=False)(function)
    text = compiled.inspect_llvm() + _entry(name, compiled.native_name.removeprefix("cfunc."), signature)
    # a loop that copies or clears is not to become a call of memcpy or memset
    text = re.sub(r"^(define .*?)( \{)$", r'\1 "no-builtins"\2', text, flags=re.MULTILINE)
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    for item in (*module.functions, *module.global_variables):
        if not item.is_declaration and item.name != name:
            item.linkage = "internal"
    return module


def _entry(name: str, inner: str, signature) -> str:  # noqa: ANN001
    """Return the source of a function that calls `inner` in Numba's own convention: result, exception, arguments.

    Numba's own wrapper would print an exception through its runtime; these kernels raise none.
    """
    words = {"int64": "i64", "int32": "i32", "float64": "double"}
    result = words[str(signature.return_type)]
    kinds = [words[str(kind)] for kind in signature.args]
    parameters = ", ".join(f"{kind} %a{number}" for number, kind in enumerate(kinds))
    return f"""
define {result} @{name}({parameters}) {{
  %result = alloca {result}
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, {parameters})
  %value = load {result}, ptr %result
  ret {result} %value
}}
"""


def _optimise(llvm, machine, module) -> None:  # noqa: ANN001
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    module.verify()


def main() -> int:
    """Compile one target into one object file in a folder."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    started = time.monotonic()

    def say(share: float, text: str) -> None:
        seconds = round(time.monotonic() - started, 2)
        sys.stdout.write(json.dumps({"progress": round(share, 3), "text": text, "seconds": seconds}) + "\n")
        sys.stdout.flush()

    code = compile_target(TARGETS[name], say)
    write_checked(folder, f"{name}.o", code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
