"""The peer of `vlm-mla generate` for start-up timings: MODEL IMAGE PROMPT -> eight greedy tokens in float32."""
import sys

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

directory, image, prompt = sys.argv[1:4]
processor = AutoProcessor.from_pretrained(directory)
model = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32)
inputs = processor(text=prompt, images=Image.open(image).convert("RGB"), return_tensors="pt")
with torch.no_grad():
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
print(out[0, inputs["input_ids"].shape[1]:].tolist())
