"""Numbers that belong together."""

from __future__ import annotations


class Groups:
    """Numbers 0 to `count` - 1, joined step by step (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        """The smallest number of the group of `number`."""
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, a: int, b: int) -> bool:
        """Make one group of those of `a` and `b`; whether they were two."""
        a, b = sorted((self.root(a), self.root(b)))
        self._parent[b] = a
        return a != b

    def members(self) -> list[list[int]]:
        """Groups of two and more, in the order of their first numbers."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._parent)):
            found.setdefault(self.root(number), []).append(number)
        return [group for group in found.values() if len(group) > 1]
