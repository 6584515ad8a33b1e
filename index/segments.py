"""FAISS files: train, fill, merge, open mapped, search, wipe. Ids are ours (63 bits of the uid); rows of a file never are.

Lists of IVF kinds lie in the file as FAISS's own `ilar` block, so that opening maps them (IO_FLAG_MMAP) and an erasure wipes
them in place. With faiss-gpu-cu12 1.15.1 (CUDA 12) and a device, centroids are learnt and vectors assigned on the GPU, and kinds that
GPUs know (whole vectors, bytes) are searched there, unless ids are chosen or more than 2,048 proposals are asked for.
"""

import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.kinds import EXACT
from pipeline.erasure.tar_erase import FileWriter as FileWriter
from pipeline.errors import FormatError
from pipeline.store import explained

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]
_METRIC = faiss.METRIC_INNER_PRODUCT
_SEED = 1234
_LIVING = faiss.IDSelectorRange(0, 2**63 - 1)


def gpus() -> int:
    """Return how many devices FAISS can use; 0 with faiss-cpu."""
    return int(getattr(faiss, "get_num_gpus", lambda: 0)())


def train(factory: str, sample: F32) -> Any:
    """Return an empty index of a kind, trained on vectors f32[N,D] of unit norm."""
    index: Any = faiss.index_factory(sample.shape[1], factory, _METRIC)
    if factory == EXACT:
        return index
    index.cp.seed = _SEED
    if factory.endswith(",SQfp16"):
        index.by_residual = False  # what is stored is float16: coded so nothing is lost
    device = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(sample.shape[1])) if gpus() else None
    index.clustering_index = device  # FAISS does not own it: `device` has to live as long as the training
    index.train(sample)
    index.clustering_index = None
    return index


def centroids(index: Any) -> F32:
    """Return the centroids f32[L,D] of an IVF index."""
    found: F32 = faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist)
    return found


def add(index: Any, vectors: F32, ids: Ids) -> None:
    """Add vectors f32[N,D]. Lists are found by multiplying matrices: thrice as fast as the graph over the centroids."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if not isinstance(index, faiss.IndexIVF):
        index.add_with_ids(vectors, ids)
        return
    flat: Any = faiss.IndexFlatIP(index.d)
    flat.add(centroids(index))
    if gpus():
        flat = faiss.index_cpu_to_all_gpus(flat)
    graph = index.quantizer
    index.quantizer = (
        flat  # fast scan has no other way to be told the lists: its `add_core` packs codes wrongly (1.15.1)
    )
    try:
        index.add_with_ids(vectors, ids)
    finally:
        index.quantizer = graph


def write(index: Any, path: Path) -> None:
    """Write an index to a local file; StorageError tells of a full disk."""
    with explained(f"writing {path}"):
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:  # how FAISS tells of a full disk
            full = "No space left" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def write_block(index: Any, path: Path) -> None:
    """Write an index that is to be merged: without its centroids, which are those of every other block and would add up.

    Fast scan's blocks keep them, as FAISS compares them; they are read one after the other.
    """
    if isinstance(index, faiss.IndexIVFFastScan):
        write(index, path)
        return
    none, graph = faiss.IndexFlatIP(index.d), index.quantizer
    index.quantizer = none
    try:
        write(index, path)
    finally:
        index.quantizer = graph


def read(path: Path) -> Any:
    """Open an index file, its lists mapped where the kind allows; FormatError when it is damaged."""
    return _read(path, faiss.IO_FLAG_MMAP)


def _read(path: Path, flags: int) -> Any:
    try:
        index: Any = faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        raise FormatError(
            f"{path}: not an index that FAISS reads; `tamis index build` makes it anew ({error})"
        ) from error
    return index


def read_whole(path: Path) -> Any:
    """Read an index file into memory, to be added to."""
    return _read(path, 0)


def emptied(path: Path) -> Any:
    """Return an index of the same training as a file's, without its vectors."""
    index = read(path)
    if isinstance(index, faiss.IndexIVFFastScan):
        index.reset()
        return index
    lists: Any = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    index.replace_invlists(lists, True)
    lists.this.disown()
    index.ntotal = 0
    return index


def merge(trained: Any, blocks: Sequence[Path], target: Path) -> None:
    """Write one index of the vectors of several of the same training, in their order, list by list: memory stays flat.

    Fast-scan kinds keep their lists in memory anyway and are merged there.
    """
    if isinstance(trained, (faiss.IndexIVFFastScan, faiss.IndexIDMap)):
        for block in blocks:
            trained.merge_from(read(block), 0)
        write(trained, target)
        return
    opened = [read(block) for block in blocks]
    held = [one.invlists for one in opened]
    sizes = [[lists.list_size(number) for lists in held] for number in range(trained.nlist)]
    trained.ntotal = sum(one.ntotal for one in opened)
    write(trained, target)
    empty = struct.pack("<4sQQ4sQ", b"ilar", trained.nlist, trained.code_size, b"sprs", 0)
    totals = np.array([sum(size) for size in sizes], np.uint64)
    with target.open("r+b") as out:
        out.seek(-len(empty), os.SEEK_END)
        if out.read() != empty:
            raise FormatError(f"{target}: this FAISS writes empty lists in another way; please report its version")
        out.seek(-len(empty), os.SEEK_END)
        out.write(struct.pack("<4sQQ4sQ", b"ilar", trained.nlist, trained.code_size, b"full", trained.nlist))
        out.write(totals.tobytes())
        for number in range(trained.nlist):
            for part in (_codes, _ids):
                for lists, size in zip(held, sizes[number], strict=True):
                    if size:
                        out.write(part(lists, number, size).tobytes())


def _codes(lists: Any, number: int, size: int) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
    return codes


def _ids(lists: Any, number: int, size: int) -> Ids:
    ids: Ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
    return ids


def on_device(index: Any) -> Any:
    """Return a copy on the first GPU, or None: without one, and for kinds that GPUs do not know (fast scan, RaBitQ, exact)."""
    if not gpus() or not isinstance(index, faiss.IndexIVFScalarQuantizer):
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def parameters(index: Any, nprobe: int, chosen: Any = None, wiped: bool = False) -> Any:
    """Return how to search an index: lists to look into, and a selector of ids where some are chosen or places are wiped."""
    selector = chosen if chosen is not None else _LIVING if wiped else None
    if type(index).__name__.startswith("Gpu"):
        return _parameters("SearchParametersIVF", nprobe=min(nprobe, index.nlist))
    if not isinstance(index, faiss.IndexIVF):
        return _parameters("SearchParameters", sel=selector)
    coarse: Any = None
    if isinstance(faiss.downcast_index(index.quantizer), faiss.IndexHNSW):
        coarse = _parameters("SearchParametersHNSW", efSearch=max(16, 2 * nprobe))
    return _parameters("SearchParametersIVF", sel=selector, nprobe=min(nprobe, index.nlist), quantizer_params=coarse)


def search(index: Any, vectors: F32, k: int, how: Any) -> tuple[Ids, F32]:
    """Return for each vector f32[Q,D] the ids i64[Q,K] that are proposed, -1 where there are fewer, and their inner products as
    the codes tell them, f32[Q,K]; `how` is of `parameters`."""
    try:
        cos, ids = index.search(vectors, k, params=how)
    except RuntimeError as error:
        raise FormatError(f"an index that FAISS cannot search; `tamis index build` makes it anew ({error})") from error
    return ids, cos


def is_whole(index: Any) -> bool:
    """Tell whether codes are the vectors as they are stored, float16, so that FAISS's inner products are exact."""
    if isinstance(index, faiss.IndexIDMap):
        return True
    is_halves = isinstance(index, faiss.IndexIVFScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
    return is_halves and not index.by_residual


def _parameters(name: str, **values: Any) -> Any:
    """Make FAISS's parameters of a search; its stubs do not know that they take names."""
    return getattr(faiss, name)(**values)


def _lists(index: Any) -> Any:
    """Return the inverted lists as the type they are."""
    return faiss.downcast_InvertedLists(index.invlists)


def ids_of(index: Any) -> Ids:
    """Return the ids that an index holds, -1 for wiped ones."""
    if isinstance(index, faiss.IndexIDMap):
        return np.asarray(faiss.vector_to_array(index.id_map), np.int64)
    lists = index.invlists
    pieces = [_ids(lists, number, size).copy() for number in range(index.nlist) if (size := lists.list_size(number))]
    return np.concatenate([np.empty(0, np.int64), *pieces])


def wipe(path: Path, gone: Ids, draft: Path) -> bool:
    """Take vectors out of a local index file: in place, or by writing `draft`, which then is to replace it; tells which.

    IVF: codes become zero and ids -1 where they are, so that places and order stay and doing it again after any stop ends with
    the same bytes; fast scan's lists are read and written as a whole. Exact kinds are written without the vectors.
    """
    index, gone = read(path), np.sort(gone)
    if isinstance(index, faiss.IndexIDMap):
        index.remove_ids(faiss.IDSelectorBatch(gone))
        write(index, draft)
        return True
    if isinstance(index, faiss.IndexIVFFastScan):
        _wipe_blocks(index, gone)
        write(index, draft)
        return True
    width = int(index.invlists.code_size)
    with path.open("r+b", buffering=0) as handle:
        writer = FileWriter(handle.fileno())
        spots = [(_lists(index).lists.at(n), rows.tolist()) for n, rows in held(index, gone)]
        for place, rows in spots:
            for row in rows:
                writer.write(place.offset + row * width, bytes(width))
        writer.sync()  # as long as its id is there, a stopped erasure finds it again
        for place, rows in spots:
            for row in rows:
                writer.write(place.offset + place.capacity * width + row * 8, b"\xff" * 8)
        writer.sync()
    return False


def among(ids: Ids, chosen: Ids) -> NDArray[np.bool_]:
    """Tell of each id whether it is one of the chosen ones, which are sorted: many lists are asked of few, and `isin` sorts anew."""
    if not len(chosen):
        return np.zeros(len(ids), np.bool_)
    return np.asarray(chosen[np.minimum(np.searchsorted(chosen, ids), len(chosen) - 1)] == ids)


def held(index: Any, gone: Ids) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (list, rows in it) of the lists that hold one of the sorted ids."""
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        rows = np.flatnonzero(among(_ids(index.invlists, number, size), gone)) if size else np.empty(0, np.int64)
        if len(rows):
            yield number, rows


def _wipe_blocks(index: Any, gone: Ids) -> None:
    """Zero codes in fast scan's interleaved blocks, through FAISS's own packer."""
    lists = _lists(index)
    packer = lists.packer
    zero = np.zeros(packer.code_size, np.uint8)
    for number, rows in held(index, gone):
        size = lists.list_size(number)
        blocks = -(-size // packer.nvec)
        codes = faiss.rev_swig_ptr(lists.get_codes(number), blocks * packer.block_size).reshape(
            blocks, packer.block_size
        )
        ids = _ids(lists, number, size)
        for row in rows.tolist():
            packer.pack_1(zero, row, codes)
            ids[row] = -1
