"""The table of commands, and the group that imports a command when it is asked for."""

import importlib
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        module: The module that holds it, in this package.
        name: The function or the group of commands in there.
        summary: The first paragraph of its help, which a test holds against the command.
        cls: Its class in the same module, where it has one of its own.
    """

    module: str
    name: str
    summary: str
    cls: str = ""


# in the order of the help: single commands, then groups of them
COMMANDS = {
    "demo": Entry("demo", "demo", "Embed 600 openly licensed medical passages and search them. Needs no network."),
    "encode": Entry("encode", "encode", "Embed texts into a file of vectors, one per row."),
    "index": Entry("index", "index", "Embed a corpus of any size into a folder. A killed run goes on where it was."),
    "token-index": Entry(
        "index",
        "token_index",
        "Keep one vector per token of a corpus of any size. Another name for `medembed index --late-interaction MODEL`.",
    ),
    "search": Entry("search", "search", "Search an embedded corpus exactly, or a token index by late interaction."),
    "serve": Entry(
        "serve",
        "serve",
        "Serve embeddings, rankings and search to clients of OpenAI, Cohere and text-embeddings-inference.",
    ),
    "mcp": Entry(
        "mcp",
        "mcp",
        "Give an assistant the tools search, get_note and list_filters over the Model Context Protocol.",
    ),
    "evaluate": Entry(
        "evaluate",
        "evaluate",
        "Measure retrieval quality, task by task. What is measured already is not measured again.",
    ),
    "compare": Entry(
        "compare", "compare", "Compare models query by query, with paired tests. Say 'better' only where it holds."
    ),
    "assess": Entry(
        "assess",
        "assess",
        "Tell which model finds your own notes best, without labels, by questions made of the notes. With local models nothing leaves "
        "the machine.",
        cls="ManyModels",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        "Show this machine, the engine chosen for it and why. Check the vectors, and measure a speed.",
    ),
    "corpus": Entry(
        "corpus",
        "corpus_app",
        "Look at an embedded corpus or a token index, check it, take rows out, write it as arrays.",
    ),
    "keys": Entry("keys", "keys_app", "Make, list and remove the API keys of `medembed serve`."),
    "models": Entry(
        "models", "models_app", "List the known models and whether they are on this disk. Download or export one."
    ),
    "leaderboard": Entry("leaderboard", "leaderboard_app", "A leaderboard as a static page."),
    "recipes": Entry("recipes", "recipes_app", "Retrain and extend the models: list, show, copy and run recipes."),
}


class Imported(MutableMapping[str, Any]):
    """The commands by name. Each is imported when it is read; their names alone import none."""

    def __init__(self) -> None:
        self._commands: dict[str, Any] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        found = self._commands[name]
        if found is None:
            found = self._commands[name] = _imported(name, COMMANDS[name])
        return found

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __contains__(self, name: object) -> bool:
        return name in self._commands

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


class Commands(TyperGroup):
    """A group whose commands are imported when one is asked for.

    Help and completion list them by the summaries of the table, and import none.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": {}})
        self.commands = Imported()
        self._lists = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as typer calls it
        """The names, in the table's order."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name. In a list of commands it is no more than its summary."""
        if self._lists and cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)
        return super().get_command(ctx, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, with every command's summary."""
        with self._listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The commands and options that a word may become."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        self._lists = True
        try:
            yield
        finally:
            self._lists = False


def _imported(name: str, entry: Entry) -> Any:
    """Import a command, in the form that typer gives those of any group."""
    module = importlib.import_module(f"medembed.cli.{entry.module}")
    found = getattr(module, entry.name)
    group = typer.Typer(rich_markup_mode="rich")
    if isinstance(found, typer.Typer):
        group.add_typer(found, name=name)
    else:
        group.command(name, cls=getattr(module, entry.cls) if entry.cls else None)(found)
    return typer.main.get_group(group).commands[name]
