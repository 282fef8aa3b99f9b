"""Which cells of a notebook need which others: by the names that they make and read."""

import symtable


def needed_for(sources: list[str], wanted: set[int]) -> set[int]:
    """Places of the wanted cells, and of those before them that make a name they read."""
    needed, names = {0}, set()  # the first cell finds the course
    for i in reversed(range(len(sources))):
        makes, reads = names_in(sources[i])
        if i in wanted or makes & names:
            needed.add(i)
            names |= reads
    return needed


def names_in(code: str) -> tuple[set[str], set[str]]:
    """The names that a cell gives to others, and those that it takes from others."""
    cell = symtable.symtable(code, "cell", "exec")
    makes = {s.get_name() for s in cell.get_symbols() if s.is_assigned() or s.is_imported()}
    scopes, reads = [cell], set()
    for scope in scopes:  # functions and comprehensions, too
        scopes += scope.get_children()
        reads |= {s.get_name() for s in scope.get_symbols() if s.is_global() or scope is cell}
    return makes, reads - makes
