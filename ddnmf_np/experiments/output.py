"""Tables and figures written from a folder of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ddnmf_np.errors import DDNMFError
from ddnmf_np.experiments import figures, published
from ddnmf_np.experiments.records import Store
from ddnmf_np.system.files import atomic_write_text, make_folder


def report(
    store: Store,
    results: Sequence[str],
    say: Callable[[str], None],
    into: Sequence[Path] = (),
) -> list[str]:
    """Write ``tables/*.md`` and ``figures/*.png`` into the folder of the records.

    Parameters
    ----------
    store : Store
        Where the records are.
    results : sequence of str
        Tables, figures and studies to write; those that there are no records of are left out.
    say : callable
        Called with the names of what was written.
    into : sequence of Path
        Markdown files in which marked tables are made anew, see `published`.

    Returns
    -------
    list of str
        A line for each record of no use, and for each result that cannot be made.
    """
    records, problems = store.load()
    written = []
    for name in results:
        try:
            if name in published.TABLES:
                text = published.render(name, records)
                if text:
                    make_folder(store.folder / "tables")
                    path = store.folder / "tables" / f"{name}.md"
                    atomic_write_text(path, text)
                    written.append(path)
            else:
                folder = store.folder / "figures"
                make_folder(folder)
                written += [folder / file for file in figures.draw(name, records, folder)]
        except DDNMFError as error:
            problems.append(f"{name}: {error}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # `records.check` lets through what no single entry shows; the other tables go on.
            problems.append(
                f"{name}: its records do not fit together ({type(error).__name__}: {error}); "
                "delete those that this program did not write"
            )
    for path in into:
        try:
            before = path.read_text("utf-8")
            after = published.updated(before, published.reader(path, records, problems))
        except DDNMFError as error:
            problems.append(f"{path}: {error}")
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        if after != before:
            atomic_write_text(path, after)
            written.append(path)
    say(f"written: {', '.join(map(str, written)) or 'nothing new'}")
    return problems
