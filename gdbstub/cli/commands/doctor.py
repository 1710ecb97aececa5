"""``gdbstub doctor``: what this host has, and lacks; ``gdbstub.cli.doctor`` examines it."""

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, for scripts.")
def doctor(as_json: bool) -> int:
    """Show what this host can do, and how to install what is missing."""
    from gdbstub.cli.doctor import examine, show

    return show(examine(), as_json=as_json)
