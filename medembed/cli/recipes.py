"""`medembed recipes`: the same door as ``python -m medembed.recipes``."""

from typing import Annotated

import typer


def recipes(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="list | show | copy | run | status | download, and theirs")
    ] = None,
) -> None:
    """Retrain and extend the models: list, show, copy and run recipes.

    Examples: [bold]medembed recipes list[/bold] · [bold]medembed recipes run tiny train.epochs=2[/bold]
    """
    from medembed.recipes.door import main

    raise typer.Exit(main(arguments or ["--help"]))
