"""Picture files, what Pillow makes of them, and what CLIPImageProcessor makes of pictures: tests/golden/input.

usage: make_input_images.py OUT   with Pillow 13.0.0 and transformers 5.23.0 or 4.46.3 (the files must come out equal)
images/*            small JPEG, PNG and WebP files of every kind
images.json, .bin   their open().convert("RGB"), and which cut files open
preprocess.json, .bin   resized and cropped bytes; pixel values of all 256 bytes and of one picture
"""
import io
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
import PIL
import transformers
from PIL import Image, ImageFile

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def noise(width, height, channels, seed):
    """Bytes of a linear congruential generator; the C++ tests make the same."""
    count = width * height * channels
    out = np.empty(count, np.uint8)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return out.reshape(height, width, channels)


def smooth(width, height, channels, seed):
    """Ramps with a little noise, so that lossy files stay small."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    ramp = (x * (5 + c) + y * (9 - c) + 40 * c + 3 * seed) % 256
    return ((ramp * 7 + noise(width, height, channels, seed)) // 8).astype(np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def scanlines(samples, depth):
    """samples [H, W, C] as unfiltered PNG rows."""
    rows = b""
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            packed = flat.astype(">u2").tobytes()
        else:
            bits = "".join(f"{int(v):0{depth}b}" for v in flat)
            bits += "0" * (-len(bits) % 8)
            packed = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        rows += b"\0" + packed
    return rows


def png(samples, depth, colour, interlace=False, extra=b""):
    height, width = samples.shape[:2]
    parts = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7] if interlace else [samples]
    raw = b"".join(scanlines(p, depth) for p in parts if p.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlace))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def png_files():
    files = {}
    for name, colour, channels, depths in [("grey", 0, 1, (1, 2, 4, 8, 16)), ("rgb", 2, 3, (8, 16)), ("palette", 3, 1, (1, 2, 4, 8)),
                                           ("grey-alpha", 4, 2, (8, 16)), ("rgba", 6, 4, (8, 16))]:
        for depth in depths:
            for interlace in (False, True):
                wide = noise(19, 11, channels, depth).astype(np.int64)
                samples = wide % 2**depth if depth < 16 else wide * 257 % 65536 - wide % 5
                if depth == 16:
                    samples[::3] //= 256  # the low half of the range is where clipping and scaling differ
                    samples = np.abs(samples)
                extra = chunk(b"PLTE", noise(2**depth, 1, 3, 5).tobytes()) if colour == 3 else b""
                files[f"{name}-{depth}{'-interlaced' if interlace else ''}.png"] = png(samples, depth, colour, interlace, extra)
    palette, index = noise(10, 1, 3, 5).tobytes(), noise(19, 11, 1, 3) % 13
    files["palette-short.png"] = png(index, 8, 3, extra=chunk(b"PLTE", palette))
    files["palette-transparent.png"] = png(index % 10, 8, 3, extra=chunk(b"PLTE", palette) + chunk(b"tRNS", bytes([0, 128, 255, 7])))
    files["grey-transparent.png"] = png(noise(7, 5, 1, 9), 8, 0, extra=chunk(b"tRNS", b"\0\x10"))
    files["rgb-transparent.png"] = png(noise(7, 5, 3, 9), 8, 2, extra=chunk(b"tRNS", b"\0\x10\0\x20\0\x30"))
    files["rgb-gamma.png"] = png(noise(7, 5, 3, 9), 8, 2, extra=chunk(b"gAMA", struct.pack(">I", 100000)))
    files["one-pixel.png"] = png(noise(1, 1, 3, 2), 8, 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    files["oriented.png"] = saved(Image.fromarray(noise(7, 5, 3, 9)), "PNG", exif=exif)
    return files


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def without_segment(jpeg, marker):
    """Drops the first marker segment of that kind."""
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]:]


def jpeg_files():
    rgb = Image.fromarray(smooth(37, 29, 3, 1))
    grey = Image.fromarray(smooth(37, 29, 1, 2)[:, :, 0])
    cmyk = Image.fromarray(smooth(21, 18, 4, 3), "CMYK")
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "420.jpg": saved(rgb, "JPEG", quality=85, subsampling=2),
        "422.jpg": saved(rgb, "JPEG", quality=85, subsampling=1),
        "444.jpg": saved(rgb, "JPEG", quality=95, subsampling=0),
        "progressive.jpg": saved(rgb, "JPEG", quality=80, progressive=True, subsampling=2),
        "restarts.jpg": saved(rgb, "JPEG", quality=80, restart_marker_blocks=2),
        "low-quality.jpg": saved(rgb, "JPEG", quality=10),
        "stored-as-rgb.jpg": saved(rgb, "JPEG", keep_rgb=True),
        "grey.jpg": saved(grey, "JPEG", quality=85),
        "grey-progressive.jpg": saved(grey, "JPEG", quality=85, progressive=True),
        "oriented.jpg": saved(rgb, "JPEG", quality=85, exif=exif),
        "one-pixel.jpg": saved(Image.fromarray(noise(1, 1, 3, 4)), "JPEG"),
        "cmyk-adobe.jpg": saved(cmyk, "JPEG", quality=90),
    }
    adobe = files["cmyk-adobe.jpg"]
    at = adobe.index(b"Adobe") + 11  # the transform: 0 CMYK, 2 YCCK
    files["ycck.jpg"] = adobe[:at] + b"\2" + adobe[at + 1:]
    files["cmyk-plain.jpg"] = without_segment(adobe, 0xEE)
    files["trailing-bytes.jpg"] = files["420.jpg"] + b"more"
    return files


def webp_files():
    rgb = Image.fromarray(smooth(37, 29, 3, 1))
    rgba = Image.fromarray(smooth(37, 29, 4, 6))
    exif = Image.Exif()
    exif[0x0112] = 3
    frames = [Image.fromarray(smooth(20, 14, 4, s)) for s in (1, 2)]
    return {
        "lossy.webp": saved(rgb, "WEBP", quality=80),
        "lossless.webp": saved(rgb, "WEBP", lossless=True),
        "lossy-alpha.webp": saved(rgba, "WEBP", quality=80),
        "lossless-alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "oriented.webp": saved(rgb, "WEBP", quality=60, exif=exif),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
    }


def opened(data):
    """The RGB bytes, or None when Pillow refuses the file."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError):
        return None


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def write_images(out):
    files = {**png_files(), **jpeg_files(), **webp_files()}
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    blob, index = b"", []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        pixels = opened(data)
        entry = {"file": name, "width": pixels.shape[1], "height": pixels.shape[0], "offset": len(blob)}
        entry["cuts"] = [[cut, fnv(p.tobytes()) if (p := opened(data[:cut])) is not None else None]
                         for cut in sorted({*range(0, len(data), max(1, len(data) // 12)), *range(len(data) - 14, len(data))}) if cut >= 0]
        blob += pixels.tobytes()
        index.append(entry)
    (out / "images.bin").write_bytes(blob)
    recipe = {"script": "tools/golden/make_input_images.py", "Pillow": PIL.__version__}
    (out / "images.json").write_text(json.dumps({"recipe": recipe, "images": index}) + "\n")


def processor(**options):
    if transformers.__version__.startswith("4."):
        from transformers import CLIPImageProcessor
        return CLIPImageProcessor(**options)
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    return (LlavaImageProcessorPil if options.get("do_pad") else CLIPImageProcessorPil)(**options)


def run(image, **options):
    # 4.46.3 takes pictures 1 or 3 pixels high for channels-first ones unless it is told.
    layout = {"input_data_format": "channels_last"} if transformers.__version__.startswith("4.") else {}
    return processor(**options)(Image.fromarray(image), return_tensors="np", **layout)["pixel_values"][0]


def padded(image, mean):
    """LLaVA's expand2square, for transformers 4.46.3, which has no such option."""
    side = max(image.shape[:2])
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = [int(m * 255) for m in mean]
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    canvas[top:top + image.shape[0], left:left + image.shape[1]] = image
    return canvas


CROP = {"shortest_edge": 42}, {"height": 42, "width": 42}
CASES = [(64, 48, *CROP, False), (48, 64, *CROP, False), (640, 480, *CROP, False), (1, 50, *CROP, False), (50, 1, *CROP, False),
         (42, 42, *CROP, False), (57, 113, *CROP, False), (31, 17, *CROP, False), (300, 42, *CROP, False), (42, 300, *CROP, False),
         (3, 3, *CROP, False), (1000, 37, *CROP, False), (37, 1000, *CROP, False), (41, 43, *CROP, False), (1, 1, *CROP, False),
         (64, 48, *CROP, True), (48, 64, *CROP, True), (57, 113, *CROP, True), (31, 18, *CROP, True), (1, 50, *CROP, True),
         (300, 42, *CROP, True), (42, 42, *CROP, True),
         (64, 48, {"shortest_edge": 21}, {"height": 42, "width": 42}, False), (64, 48, {"shortest_edge": 30}, {"height": 35, "width": 37}, False),
         (47, 64, {"shortest_edge": 30}, {"height": 37, "width": 35}, False), (33, 33, {"shortest_edge": 20}, {"height": 21, "width": 33}, False),
         (64, 48, {"shortest_edge": 23}, {"height": 22, "width": 22}, False), (48, 65, {"shortest_edge": 24}, {"height": 23, "width": 23}, False),
         (64, 48, {"height": 20, "width": 30}, None, False), (64, 48, None, {"height": 42, "width": 42}, False),
         (20, 21, None, {"height": 42, "width": 43}, False)]


def write_preprocess(out):
    blob, index = b"", []
    for number, (width, height, size, crop, pad) in enumerate(CASES):
        image = noise(width, height, 3, number)
        options = {"do_rescale": False, "do_normalize": False, "do_resize": size is not None, "do_center_crop": crop is not None}
        options.update({"size": size} if size else {}, **({"crop_size": crop} if crop else {}))
        if pad and transformers.__version__.startswith("4."):
            image = padded(image, processor().image_mean)
        elif pad:
            options["do_pad"] = True
        pixels = np.asarray(run(image, **options))
        assert pixels.dtype == np.uint8, pixels.dtype
        data = np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes()
        index.append({"seed": number, "width": width, "height": height, "size": size, "crop_size": crop, "pad": pad,
                      "out": list(pixels.shape[:0:-1]), "offset": len(blob)})
        blob += data
    # Every byte value in every channel; then a picture from end to end.
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    floats = [run(values, do_resize=False, do_center_crop=False),
              run(noise(64, 48, 3, 0), size=CROP[0], crop_size=CROP[1])]
    float_index = []
    for value in floats:
        assert value.dtype == np.float32
        float_index.append({"shape": list(value.shape), "offset": len(blob)})
        blob += value.astype("<f4").tobytes()
    (out / "preprocess.bin").write_bytes(blob)
    recipe = {"script": "tools/golden/make_input_images.py", "transformers": ["4.46.3", "5.23.0"], "Pillow": PIL.__version__}
    (out / "preprocess.json").write_text(json.dumps({"recipe": recipe, "cases": index, "floats": float_index}) + "\n")


if __name__ == "__main__":
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    target = pathlib.Path(sys.argv[1])
    write_images(target)
    write_preprocess(target)
