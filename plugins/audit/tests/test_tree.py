"""The Merkle tree: the roots and proofs that RFC 6962 says, whatever is known of the leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_audit.checkpoints._tree import EMPTY, Growth, Tree, consistent, leaf_hash, node_hash

LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
"""Those that the implementations of Certificate Transparency test each other with."""
ROOTS = [bytes.fromhex(text) for text in (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)]  # fmt: skip
PROOFS = [
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip


def root(leaves: list[bytes]) -> bytes:
    """Return the root as RFC 6962 section 2.1 defines it."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root(leaves[:left]), root(leaves[left:]))


def proof(size: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """Return the consistency proof as RFC 6962 section 2.1.2 defines it."""
    if size == len(leaves):
        return [] if whole else [root(leaves)]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    if size <= left:
        return [*proof(size, leaves[:left], whole=whole), root(leaves[left:])]
    return [*proof(size - left, leaves[left:], whole=False), root(leaves[:left])]


def grown(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.push(leaf_hash(leaf))
    return tree


def growth(leaves: list[bytes], size: int) -> Growth:
    found = Growth(grown(leaves[:size]))
    for leaf in leaves[size:]:
        found.push(leaf_hash(leaf))
    return found


def test_roots_are_those_of_certificate_transparency() -> None:
    """The roots of the known leaves are the known ones, from no leaf to all."""
    assert [grown(LEAVES[:size]).root() for size in range(9)] == ROOTS


@pytest.mark.parametrize(("first", "second", "path"), PROOFS)
def test_proofs_are_those_of_certificate_transparency(first: int, second: int, path: list[str]) -> None:
    """The consistency proofs of the known leaves are the known ones."""
    made = growth(LEAVES[:second], first).proof()
    assert [node.hex() for node in made] == path
    assert consistent(first, second, (ROOTS[first], ROOTS[second]), made)


@given(st.lists(st.binary(max_size=4), max_size=130))
def test_root_is_that_of_the_definition(leaves: list[bytes]) -> None:
    """The root of any lines is what the recursion of RFC 6962 says, though no more is kept than the peaks."""
    tree = grown(leaves)
    assert tree.root() == root(leaves)
    assert (tree.size, len(tree.peaks)) == (len(leaves), len(leaves).bit_count())


@given(st.lists(st.binary(max_size=4), max_size=70), st.integers(0, 70))
def test_tree_goes_on_from_its_peaks(leaves: list[bytes], size: int) -> None:
    """A tree that is made anew of its size and its peaks grows as the one that they are of."""
    before = grown(leaves[:size])
    tree = Tree(before.size, before.peaks)
    for leaf in leaves[size:]:
        tree.push(leaf_hash(leaf))
    assert tree.root() == root(leaves)
    assert before.root() == root(leaves[:size])


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
def test_proof_is_that_of_the_definition(leaves: list[bytes], data: st.DataObject) -> None:
    """A proof is what the recursion of RFC 6962 says, holds for its two trees, and for no others."""
    size = data.draw(st.integers(1, len(leaves)))
    roots = (root(leaves[:size]), root(leaves))
    made = growth(leaves, size).proof()
    assert made == proof(size, leaves)
    assert consistent(size, len(leaves), roots, made)
    other = bytes(32)
    assert not consistent(size, len(leaves), (other, roots[1]), made)
    assert not consistent(size, len(leaves), (roots[0], other), made)
    assert not consistent(size, len(leaves), roots, [*made, other])
    if made:
        at = data.draw(st.integers(0, len(made) - 1))
        assert not consistent(size, len(leaves), roots, made[:at] + made[at + 1 :])
        assert not consistent(size, len(leaves), roots, [*made[:at], other, *made[at + 1 :]])


def test_nothing_grows_into_nothing() -> None:
    """Of an empty tree, and of one that did not grow, the proof is empty."""
    assert growth(LEAVES, 0).proof() == growth(LEAVES, 8).proof() == []
    assert not consistent(0, 8, (EMPTY, ROOTS[8]), [])
    assert not consistent(8, 6, (ROOTS[8], ROOTS[6]), [])
    assert not consistent(3, 8, (ROOTS[3], ROOTS[8]), [])


def test_leaf_is_no_node() -> None:
    """A line that is what a node is hashed of does not take the place of the two lines below."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert grown([b"\1" + left + right]).root() != grown([b"a", b"b"]).root()
    assert grown([left + right]).root() != grown([b"a", b"b"]).root()


@pytest.mark.parametrize(("size", "peaks"), [(1, []), (0, [bytes(32)]), (3, [bytes(32)]), (1, [b"x"]), (-1, [])])
def test_impossible_tree_is_refused(size: int, peaks: list[bytes]) -> None:
    """Peaks that are not as many as a size has, or are no hashes, make no tree."""
    with pytest.raises(ValueError, match="does not have"):
        Tree(size, peaks)
