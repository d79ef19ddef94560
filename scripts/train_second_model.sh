#!/usr/bin/env bash
# A second, larger model of our own making, for measurements on images and text: 26 M parameters instead of 5.8 M, and it
# reads and writes text, too. Everything is made here, from seeds; its weights are not shipped.
#   scripts/train_second_model.sh VLM_MLA OUT_DIR
# As LLaVA does it, a new language model is put behind a trained vision tower: that of models/tiny-llava-shapes, which goes on
# learning. Environment: STEPS, IMAGES, VAL and BATCH for a smaller
# trial; DEVICE.
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla="$1"
out="$2"
steps=${STEPS:-2400} images=${IMAGES:-200000} batch=${BATCH:-256} device=${DEVICE:-auto}
shipped=models/tiny-llava-shapes
rm -rf "$out/start"
mkdir -p "$out/start"

# The shipped model's tower, tokenizer and processor, and a language model of twice the width.
cp "$shipped"/*.json "$shipped"/tokenizer.model "$shipped"/model.safetensors "$out/start/"
python3 - "$out/start/config.json" <<'EOF'
import json, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
config["text_config"].update(hidden_size=512, intermediate_size=1376, num_hidden_layers=8,
                             num_attention_heads=8, num_key_value_heads=8)
with open(sys.argv[1], "w") as file:
    json.dump(config, file, indent=2)
EOF

# One in eight samples has no image. The kind of question that is learnt last is asked twelve times as often.
"$vlm_mla" make_data --output_dir "$out/data" --train "$images" --val "${VAL:-1000}" --image_size 112 --seed 46 --turns 16 \
  --per_template 6 --emphasis "is beside=12" --text_samples $((images / 6)) --text_lines 2000 --json >"$out/data.json"
"$vlm_mla" train --model_path "$out/start" --init tower --data_path "$out/data/train.json" --device "$device" \
  --image_folder "$out/data/images" --sample_ratio 1.0 --output_dir "$out/model" --overwrite_output_dir --trainable all \
  --per_device_train_batch_size "$batch" --gradient_accumulation_steps 1 --max_steps "$steps" --learning_rate 8e-4 \
  --lr_scheduler_type cosine --warmup_steps 150 --weight_decay 0.01 --max_grad_norm 1.0 --bf16 True \
  --gradient_checkpointing False --dataloader_num_workers 15 --logging_steps 100 --save_strategy no --seed 42 |
  tee "$out/train.log"
"$vlm_mla" eval --model_path "$out/model" --benchmark vqav2 --image_root "$out/data/images/val2014" --device "$device" \
  --questions "$out/data/v2_OpenEnded_mscoco_val2014_questions.json" \
  --annotations "$out/data/v2_mscoco_val2014_annotations.json" --output_dir "$out/eval" --overwrite --batch_size 256 \
  --max_new_tokens 8 --prompt original
"$vlm_mla" eval --model_path "$out/model" --benchmark perplexity --text "$out/data/text.txt" --device "$device" --batch_size 64
