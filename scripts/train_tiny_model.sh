#!/usr/bin/env bash
# The recipe of models/tiny-llava-shapes: data, tokenizer and weights are all made here, from seeds.
#   scripts/train_tiny_model.sh VLM_MLA OUT_DIR [STEPS] [TRAIN_IMAGES]
# About nine minutes on one H100; the model's directory holds config.json, tokenizer and processor files already.
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla="$1"
out="$2"
steps="${3:-14000}"
images="${4:-40000}"
mkdir -p "$out"
[[ -d "$out/data" ]] || "$vlm_mla" make_data --output_dir "$out/data" --train "$images" --val 1000 --image_size 112 --seed 42 --json >"$out/data.json"
"$vlm_mla" train --init random --model_path models/tiny-llava-shapes --data_path "$out/data/train.json" \
  --image_folder "$out/data/images" --sample_ratio 1.0 --output_dir "$out/model" --overwrite_output_dir True --trainable all \
  --per_device_train_batch_size 128 --gradient_accumulation_steps 1 --max_steps "$steps" --learning_rate 1e-3 \
  --lr_scheduler_type cosine --warmup_steps 500 --weight_decay 0.01 --max_grad_norm 1.0 --bf16 True \
  --gradient_checkpointing False --dataloader_num_workers 14 --logging_steps 200 --save_strategy no --seed 42 \
  | tee "$out/train.log"
"$vlm_mla" eval --model_path "$out/model" --benchmark vqav2 --questions "$out/data/v2_OpenEnded_mscoco_val2014_questions.json" \
  --annotations "$out/data/v2_mscoco_val2014_annotations.json" --image_root "$out/data/images/val2014" \
  --output_dir "$out/eval-$steps" --batch_size 128 --max_new_tokens 8 --prompt original --max_samples 1000 | tee "$out/eval.log"
