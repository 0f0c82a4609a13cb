"""Who may import whom, and where the heavy libraries may stand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "pipeline", "annotators", "flows")
SEES = {
    "schemas": {"schemas"},
    "pipeline": {"schemas", "pipeline"},
    "annotators": {"schemas", "annotators"},
    "flows": set(ROOMS),
}
MODULES = sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))

MODELS = (
    "pipeline/train/",
    "pipeline/modeling/",
    "pipeline/scenes/model/",
    "pipeline/scenes/seeing/",
    "pipeline/engines/local/",
    "pipeline/engines/hf.py",
    "pipeline/engines/vllm.py",
)
# library: the only places that may import it, as prefixes of paths
HEAVY = {
    "prefect": ("flows/",),
    "torch": MODELS,
    "transformers": MODELS,
    "peft": ("pipeline/modeling/load.py", "pipeline/scenes/seeing/model.py"),
    "vllm": ("pipeline/engines/vllm.py",),
    "label_studio_sdk": ("annotators/label_studio/",),
    "trl": (),
}
WITHOUT_SERVER = ("flows/runs/executor.py", "flows/cli.py")  # a run without a server never imports prefect


def imports(module: Path) -> set[str]:
    """The names that a module imports, those inside its functions included."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(module.parts[0] if node.level else node.module)  # no room holds a package of another
    return names


def libraries(module: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def test_a_room_imports_only_the_rooms_it_may_see():
    found = {str(m): libraries(m) & set(ROOMS) - SEES[m.parts[0]] for m in MODULES}
    assert {m: rooms for m, rooms in found.items() if rooms} == {}


def named(module: Path) -> str:
    parts = module.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def edges() -> dict[str, set[str]]:
    """Module -> the modules of the project that it imports, inside functions too."""
    known = {named(m) for m in MODULES}
    found = {}
    for module in MODULES:
        names = set()
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module} imports by a relative name"
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= whole & known or {node.module}
                if whole - known:
                    names.add(node.module)
        found[named(module)] = names & known
    return found


def rings(edges: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of two and more that all reach each other."""
    reach = {name: set(to) for name, to in edges.items()}
    for middle in reach:
        for to in reach.values():
            if middle in to:
                to |= reach[middle]
    return sorted(
        {tuple(sorted(n for n in reach[name] if name in reach.get(n, ()))) for name in reach if name in reach[name]}
    )


def test_no_module_imports_itself_by_way_of_others():
    assert rings(edges()) == []


def test_no_package_imports_itself_by_way_of_others():
    packages: dict[str, set[str]] = {}
    for module, found in edges().items():
        here = module.rpartition(".")[0]
        packages.setdefault(here, set()).update({to.rpartition(".")[0] for to in found} - {here})
    assert rings(packages) == []


def test_a_ring_is_found():
    assert rings({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [("a", "b", "c")]


def test_schemas_import_only_the_standard_library_pyarrow_and_pydantic():
    allowed = {*sys.stdlib_module_names, "schemas", "pyarrow", "pydantic"}
    strangers = {m: libraries(m) - allowed for m in MODULES if m.parts[0] == "schemas"}
    assert {m: found for m, found in strangers.items() if found} == {}


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_imported_only_where_it_belongs(library):
    users = {m.as_posix() for m in MODULES if library in libraries(m)}
    assert {m for m in users if not m.startswith(HEAVY[library])} == set()


def test_a_run_without_a_server_does_not_know_prefect():
    assert {m for m in WITHOUT_SERVER if "prefect" in libraries(Path(m))} == set()


def test_no_file_or_folder_of_flows_is_named_like_a_package():
    """Prefect puts the folder of a flow's file on sys.path, where it would shadow the package."""
    declared = (ROOT / "environment" / "cpu.lock").read_text().splitlines()
    packages = {line.partition("==")[0].replace("-", "_").lower() for line in declared} | set(sys.stdlib_module_names)
    assert {
        path.stem for path in (ROOT / "flows").iterdir() if path.suffix == ".py" or path.is_dir()
    } & packages == set()


def loaded_by(*names: str) -> set[str]:
    """The top-level libraries in memory after a fresh Python imported `names`."""
    script = f"import sys, {', '.join(names)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_words_load_without_any_heavy_library():
    schemas = [".".join(m.with_suffix("").parts) for m in MODULES if m.parts[0] == "schemas" and m.stem != "__init__"]
    heavy = {"torch", "transformers", "vllm", "prefect", "datasets", "pandas", "aiohttp", "matplotlib"}
    assert loaded_by(*schemas) & heavy == set()


def test_the_command_line_starts_without_any_heavy_library():
    heavy = {"torch", "transformers", "vllm", "prefect", "datasets", "pandas", "matplotlib", "ray"}
    assert loaded_by("flows.cli", "flows.runs.executor") & heavy == set()
