import importlib.metadata

project = "medcore, puq-qmri, vrft-aug"
author = "The developers"
copyright = "2026, the developers"
version = release = importlib.metadata.version("medcore")
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.apidoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# The READMEs are included for both sites; their links to files of the repository have no target here.
suppress_warnings = ["myst.xref_missing", "myst.header"]
BEHIND_COMMANDS = ["cli.py", "commands.py", "commands/*", "options.py", "commandline.py", "*/command.py"]
apidoc_modules = [
    {
        "path": f"../packages/{folder}/src/{name}",
        "destination": f"{folder}/reference",
        "separate_modules": True,
        "module_first": True,
        # What is behind the command lines, which --help describes, is for nobody to import.
        "exclude_patterns": [f"../packages/{folder}/src/{name}/{path}" for path in BEHIND_COMMANDS],
    }
    for folder, name in [("medcore", "medcore"), ("puq-qmri", "puq_qmri"), ("vrft-aug", "vrft_aug")]
]
autodoc_typehints = "none"
# Every object is described once, in the module that defines it, and not again where a package offers it.
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True, "ignore-module-all": True}
numpydoc_show_class_members = False
# The lists of modules that apidoc adds are reached through the packages themselves.
exclude_patterns = ["_build", "*/reference/modules.rst"]
html_theme = "furo"
html_title = "medcore · puq-qmri · vrft-aug"
