#!/usr/bin/env python3
"""Whether Hugging Face transformers gives the answers that `vlm-mla eval --prompt original` wrote down.

    scripts/same_answers.py MODEL_DIR QUESTIONS.json IMAGE_ROOT EVAL_DIR/predictions.jsonl [--count 200]

Loads the model in float32 on the CPU, asks the first questions one by one (greedy, 8 new tokens) and prints how many
answers are the same; exit code 1 unless all are.
"""
import argparse
import json
import pathlib
import sys

import PIL.Image
import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("questions")
    parser.add_argument("image_root", type=pathlib.Path)
    parser.add_argument("predictions")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    torch.set_num_threads(1)
    processor = transformers.AutoProcessor.from_pretrained(args.model)
    model = transformers.LlavaForConditionalGeneration.from_pretrained(args.model, dtype=getattr(torch, args.dtype))
    model.eval()
    ours = {}
    for line in open(args.predictions):
        entry = json.loads(line)
        ours[entry["question_id"]] = entry["prediction"]
    questions = json.load(open(args.questions))["questions"]
    asked = [q for q in questions if q["question_id"] in ours][:args.count]
    different = []
    for question in asked:
        name = f"COCO_val2014_{question['image_id']:012d}.jpg"
        prompt = (f"USER: <image>\n{question['question']}\nAnswer the question using a single word or short phrase. "
                  "ASSISTANT:")
        inputs = processor(images=PIL.Image.open(args.image_root / name), text=prompt, return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        answer = processor.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True).strip()
        if answer != ours[question["question_id"]].strip():
            different.append((question["question_id"], answer, ours[question["question_id"]]))
    for entry in different[:10]:
        print("question {}: transformers {!r}, vlm-mla {!r}".format(*entry))
    print(f"transformers {transformers.__version__}: {len(asked) - len(different)} of {len(asked)} answers are the same")
    sys.exit(1 if different or not asked else 0)


if __name__ == "__main__":
    main()
