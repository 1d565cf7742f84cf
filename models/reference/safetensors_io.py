"""Reads and writes safetensors files and sharded checkpoints, with torch alone.

The format: 8 bytes little-endian length n, n bytes of JSON {name: {dtype, shape, data_offsets}},
then the tensors' bytes, little-endian and row-major. A package for it exists, but the system
Python this project is tested with has none.
"""
import json
import pathlib
import struct

import torch

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
          torch.int64: "I64", torch.int32: "I32"}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
INDEX_NAME = "model.safetensors.index.json"


def _bytes_of(tensor):
    # NumPy has no bfloat16, so 16-bit types go through their bit pattern.
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.view(torch.int16)
    return tensor.numpy().tobytes()


def save_file(tensors, path):
    """Writes {name: tensor} to one file; data starts at a multiple of 8 bytes."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(_bytes_of(tensor))


def load_file(path):
    """Reads one file to {name: tensor}."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = _DTYPES[entry["dtype"]]
        count = (end - begin) // torch.empty(0, dtype=dtype).element_size()
        flat = torch.frombuffer(data, dtype=dtype, offset=begin, count=count) if count \
            else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def _split(tensors, max_bytes):
    shards, used = [{}], 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > max_bytes:
            raise ValueError(f"{name}: {size} bytes; want at most {max_bytes} (one shard)")
        if used + size > max_bytes and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += size
    return shards


def save_checkpoint(tensors, folder, max_shard_bytes=16_000_000):
    """Writes model.safetensors, or shards of at most max_shard_bytes of data and their index."""
    folder = pathlib.Path(folder)
    shards = _split(tensors, max_shard_bytes)
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors")
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / name)
        weight_map.update({tensor: name for tensor in shard})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    with open(folder / INDEX_NAME, "w", encoding="utf-8") as file:
        json.dump(index, file, indent=1)
        file.write("\n")


def load_checkpoint(folder):
    """Reads all tensors of a checkpoint folder, sharded or not."""
    folder = pathlib.Path(folder)
    index = folder / INDEX_NAME
    if not index.exists():
        return load_file(folder / "model.safetensors")
    with open(index, encoding="utf-8") as file:
        names = sorted(set(json.load(file)["weight_map"].values()))
    tensors = {}
    for name in names:
        tensors.update(load_file(folder / name))
    return tensors
