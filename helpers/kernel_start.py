"""Run by each new kernel of `jitkit lab`: a cell that needs a session before there is one says which cells to run."""

from typing import Any


def _explain(shell: Any, kind: type[NameError], error: Any, trace: Any, tb_offset: int | None = None) -> None:
    innermost = trace
    while innermost.tb_next:
        innermost = innermost.tb_next
    if innermost.tb_frame.f_globals is shell.user_ns and "s" not in shell.user_ns:
        error._render_traceback_ = lambda: [
            f"NameError: {error}: this kernel was started anew and has no session yet.",
            "Next: run the first code cells, down to `s = await kit.open()`, then this cell again. Where it needs",
            "more, choose Run > Run All Above Selected Cell. The tenant is as you left it.",
        ]
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


if "get_ipython" in globals():  # not in a plain Python, which runs its PYTHONSTARTUP too
    get_ipython().set_custom_exc((NameError,), _explain)  # type: ignore[name-defined]  # noqa: F821
