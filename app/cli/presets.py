"""Lists the presets, or prints one with every key. Save the output, edit it, and train it by its path."""

import argparse

HELP = "list the presets, or print one"
EXAMPLES = """
  weitblick presets                            names and descriptions
  weitblick presets starter > mine.toml        every key; change it, then: weitblick train mine.toml
  weitblick presets starter --set norm=post    the same with a change
  weitblick presets --markdown                 all keys and their defaults: docs/presets.md
"""
AFTER_INTERRUPT = "nothing was changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a preset's name, or the path of a .toml file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="print it with these keys changed"
    )
    parser.add_argument("--markdown", action="store_true", help="print the reference of all keys")


def run(args: argparse.Namespace) -> None:
    """Prints the list, a preset, or the reference."""
    from app.presets.preset import list_presets, load_preset
    from app.presets.text import reference

    if args.markdown:
        print(reference(), end="")
    elif args.name is None:
        width = max(map(len, list_presets()))
        for name in list_presets():
            print(f"{name:<{width}}  {load_preset(name).description}")
    else:
        print(load_preset(args.name, args.set).to_toml(), end="")
