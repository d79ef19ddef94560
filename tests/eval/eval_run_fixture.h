// A tiny model and a small benchmark made up for it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "eval/run.h"
#include "input/image.h"
#include "model/load.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla::test {

class EvalRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (model_) return;
    LoadOptions options;
    options.dtype = at::kFloat;
    model_ = load_vlm(golden_dir() / "models/mha", options);
    processor_ = Processor::load(golden_dir() / "models/mha");
  }
  // Three questions of different lengths about each picture. Two in three answers are "yes".
  static std::vector<VqaSample> samples(int pictures = 3) {
    std::vector<VqaSample> out;
    int number = 0;
    for (int picture = 0; picture < pictures; ++picture) {
      for (const auto& question :
           {"What is it?", "How many are there of them in the picture?", "Is it red?"}) {
        VqaSample sample;
        sample.id = {std::to_string(100 + number++), true};
        sample.image = "picture" + std::to_string(picture) + ".png";
        sample.question = question;
        sample.answers.assign(10, "yes");
        std::fill(sample.answers.begin(), sample.answers.begin() + 3, "no");
        sample.question_type = "what";
        sample.answer_type = "other";
        out.push_back(sample);
      }
    }
    return out;
  }
  // Makes the pictures, too.
  static EvalRunRequest request(const TempDir& dir,
                                std::int64_t batch,
                                bool share,
                                int pictures = 3) {
    for (int picture = 0; picture < pictures; ++picture) {
      Image image{40, 30, std::vector<std::uint8_t>(40 * 30 * 3)};
      for (std::size_t i = 0; i < image.rgb.size(); ++i)
        image.rgb[i] = static_cast<std::uint8_t>(20 + 100 * picture + static_cast<int>(i % 31));
      const auto png = encode_png(image);
      dir.write("images/picture" + std::to_string(picture) + ".png",
                {reinterpret_cast<const char*>(png.data()), png.size()});
    }
    EvalRunRequest r;
    r.samples = samples(pictures);
    r.image_root = dir / "images";
    r.output_dir = dir / "out";
    r.runner.batch_size = batch;
    r.runner.share_prefix = share;
    r.runner.max_new_tokens = 6;
    r.runner.workers = 2;
    r.score.bootstrap.resamples = 10;
    return r;
  }
  static std::vector<std::string> texts(const EvalRunResult& result) {
    std::vector<std::string> out;
    for (const auto& text : result.report.predictions) out.push_back(text.value_or("(none)"));
    return out;
  }

  inline static std::unique_ptr<Vlm> model_;
  inline static std::unique_ptr<Processor> processor_;
};

}  // namespace vmla::test
