"""`fastgru help COMMAND` is `fastgru COMMAND --help`."""

import click

__all__ = ["command"]


@click.command("help")
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> None:
    """Show the help of COMMAND, or the list of all commands."""
    parent = ctx.find_root()
    arguments = ["--help"] if name is None else [name, "--help"]
    parent.command.main(arguments, prog_name=parent.info_name, standalone_mode=False)
