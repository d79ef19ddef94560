"""Small files of torch.save and of the safetensors library, good and bad ones, for tests/checkpoint and the fuzzers.

    python tools/golden/make_checkpoint_files.py

Writes tests/golden/torch_files/, tests/golden/safetensors/ and fuzz/corpus/pickle/ (the pickles of the former). Made with torch 2.11.0 and safetensors 0.8.0.
"""
import argparse
import collections
import os
import shutil
import zipfile

import torch
from safetensors.torch import save_file

from common import golden_root, write_recipe

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]


def numbers(dtype, *shape):
    count = torch.Size(shape).numel()
    return (torch.arange(count) % 7 - (0 if dtype in (torch.uint8, torch.bool) else 3)).to(dtype).reshape(shape)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(numbers(torch.float32, *p.shape) + i)


class System:
    def __reduce__(self):
        return os.system, ("touch vlm-mla-was-here",)


def rewrite(source, target, change, method=zipfile.ZIP_STORED):
    """Copies a zip file; change(name, content) -> content."""
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(target, "w", method) as b:
        for name in a.namelist():
            b.writestr(zipfile.ZipInfo(name), change(name, a.read(name)), method)


def main():
    out = golden_root() / "torch_files"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    base = numbers(torch.float32, 6, 5)
    tied = numbers(torch.bfloat16, 4, 3)
    good = {
        "tensor.pth": numbers(torch.uint8, 2, 3, 4),
        "module.bin": Net().state_dict(),
        "dtypes.bin": {str(t).removeprefix("torch."): numbers(t, 3, 4) for t in DTYPES},
        "parameters.bin": {"frozen": torch.nn.Parameter(numbers(torch.float16, 2, 2), requires_grad=False),
                           "free": torch.nn.Parameter(numbers(torch.float32, 3)),
                           "plain": numbers(torch.int64, 2)},
        "views.bin": collections.OrderedDict(
            whole=base, transposed=base.t(), rows=base[2:4], column=base[:, 3], steps=base[::2, 1::2],
            scalar=base[5, 4], none=base[:0], one=tied, two=tied, ragged=base.as_strided((2, 3), (7, 4), 9)),
    }
    expected = {}
    for name, content in good.items():
        torch.save(content, out / name)
        named = {"": content} if isinstance(content, torch.Tensor) else content
        for key, tensor in named.items():
            expected[f"{name}/{key}"] = tensor.detach().clone(memory_format=torch.contiguous_format)
    torch.serialization.set_crc32_options(False)
    torch.save(good["views.bin"], out / "no_checksums.bin")
    torch.serialization.set_crc32_options(True)
    torch.save({"w": numbers(torch.float32, 2)}, out / "protocol3.bin", pickle_protocol=3)
    save_file(expected, out / "expected.safetensors")

    torch.save({"w": base}, out / "bad_legacy.bin", _use_new_zipfile_serialization=False)
    with open(out / "bad_legacy.bin", "r+b") as file:
        file.truncate(100)  # what follows holds addresses, other ones in each run
    torch.save({"w": base, "x": System()}, out / "bad_system.bin")
    torch.save({"w": base, "args": argparse.Namespace(lr=1e-3)}, out / "bad_object.bin")
    torch.save({"w": base, "epoch": 3}, out / "bad_number.bin")
    torch.save({"model": {"w": base}}, out / "bad_nested.bin")
    torch.save([base], out / "bad_list.bin")
    torch.save({"w": torch.ones(1).expand(1000)}, out / "bad_expanded.bin")
    torch.save({"w": base}, out / "bad_protocol4.bin", pickle_protocol=4)
    torch.save({"w": numbers(torch.float32, 2).to(torch.complex64)}, out / "bad_complex.bin")
    torch.save({"w": torch.eye(2).to_sparse()}, out / "bad_sparse.bin")
    rewrite(out / "tensor.pth", out / "bad_compressed.pth", lambda name, content: content, zipfile.ZIP_DEFLATED)
    rewrite(out / "tensor.pth", out / "bad_big_endian.pth",
            lambda name, content: b"big" if name.endswith("/byteorder") else content)

    write_recipe(out, "make_checkpoint_files.py")

    corpus = golden_root().parents[1] / "fuzz" / "corpus" / "pickle"
    shutil.rmtree(corpus, ignore_errors=True)
    corpus.mkdir(parents=True)
    for name in ["tensor.pth", "module.bin", "parameters.bin", "views.bin", "protocol3.bin", "bad_system.bin"]:
        path = out / name
        with zipfile.ZipFile(path) as file:
            (corpus / f"{path.stem}.pkl").write_bytes(file.read(f"{path.stem}/data.pkl"))

    out = golden_root() / "safetensors"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tensors = {f"m.{str(t).removeprefix('torch.')}": numbers(t, 3, 2)
               for t in DTYPES + [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
                                  torch.float8_e8m0fnu, torch.complex64]}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "\u00e9 \"quoted\"\t": numbers(torch.int8, 1)}
    save_file(tensors, out / "dtypes.safetensors", metadata={"format": "pt"})
    write_recipe(out, "make_checkpoint_files.py")


if __name__ == "__main__":
    main()
