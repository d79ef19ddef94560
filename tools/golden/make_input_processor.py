"""A LlavaProcessor as both generations of transformers save it, and what it makes of prompts: tests/golden/input/saved-N.

usage: make_input_processor.py OUT   with transformers 4.46.3 (saved-4) and again with 5.23.0 (saved-5)
"""
import json
import pathlib
import sys

import numpy as np
import transformers
from make_input_images import fnv, noise
from PIL import Image
from transformers import AutoTokenizer, LlavaProcessor

TINY = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "tokenizer"
SIZES = [(64, 48), (20, 90)]
PROMPTS = [
    ("USER: <image>\nWhat colour is the cat? ASSISTANT:", 1),
    ("<image>\nDescribe this image in detail.", 1),
    ("USER: <image>\n<image>\nCompare them. ASSISTANT:", 2),
    ("USER: <image><image> both ASSISTANT: Yes.</s>USER: Sure? ASSISTANT:", 2),
    ("USER: no picture ASSISTANT:", 0),
]


def image_processor():
    options = {"size": {"shortest_edge": 42}, "crop_size": {"height": 42, "width": 42}}
    if transformers.__version__.startswith("4."):
        return transformers.CLIPImageProcessor(**options)
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    return CLIPImageProcessorPil(**options)


def main():
    generation = transformers.__version__.split(".")[0]
    folder = pathlib.Path(sys.argv[1]) / f"saved-{generation}"
    saved = LlavaProcessor(image_processor(), AutoTokenizer.from_pretrained(TINY), patch_size=14,
                           vision_feature_select_strategy="default", num_additional_image_tokens=1)
    saved.save_pretrained(folder)
    (folder / "tokenizer.model").unlink(missing_ok=True)
    cases = []
    for prompt, count in PROMPTS:
        images = [Image.fromarray(noise(*SIZES[i], 3, i + 1)) for i in range(count)] or None
        out = saved(images=images, text=prompt)
        ids = np.asarray(out["input_ids"]).reshape(-1).tolist()
        pixels = [fnv(np.asarray(p, "<f4").tobytes()) for p in out.get("pixel_values", [])]
        cases.append({"prompt": prompt, "ids": ids, "pixels": pixels})
    recipe = {"script": "tools/golden/make_input_processor.py", "transformers": transformers.__version__}
    sizes = [[*size, seed + 1] for seed, size in enumerate(SIZES)]
    (folder / "cases.json").write_text(json.dumps({"recipe": recipe, "images": sizes, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
