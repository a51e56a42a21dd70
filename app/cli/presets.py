"""Lists the presets, or prints one: copy it, change it, and train by its path."""

HELP = "list the presets, or print one"
EXAMPLES = """
  weitblick presets                            names and descriptions
  weitblick presets starter > mine.toml        a file to change; then: weitblick train mine.toml
  weitblick presets starter --set norm=post    what a change makes of it
"""
AFTER_INTERRUPT = "nothing was changed"


def add_arguments(parser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a preset's name, or the path of a .toml file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="print it with these keys changed"
    )


def run(args) -> None:
    """Prints the list or the preset."""
    from app.presets.preset import list_presets, load_preset, preset_text

    if args.name is None:
        width = max(map(len, list_presets()))
        for name in list_presets():
            print(f"{name:<{width}}  {load_preset(name).description}")
    elif args.set:
        print(load_preset(args.name, args.set).to_toml(), end="")
    else:
        print(preset_text(args.name), end="")
