#include "train/train_log.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "support/temp_dir.h"
#include "train/event_file.h"
#include "train/run_state.h"

namespace vmla {
namespace {

TEST(PythonRepr, IsPythons) {
  EXPECT_EQ(python_repr(0.1), "0.1");
  EXPECT_EQ(python_repr(3), "3.0");
  EXPECT_EQ(python_repr(0), "0.0");
  EXPECT_EQ(python_repr(1e-05), "1e-05");
  EXPECT_EQ(python_repr(0.0001), "0.0001");
  EXPECT_EQ(python_repr(1.9e-05), "1.9e-05");
  EXPECT_EQ(python_repr(48.19330978393555), "48.19330978393555");
  EXPECT_EQ(python_repr(1e16), "1e+16");
  EXPECT_EQ(python_repr(123456789.0), "123456789.0");
  EXPECT_EQ(python_repr(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(python_repr(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(PythonRepr, RoundsAsPython) {
  EXPECT_EQ(rounded(1.23456789, 4), 1.2346);
  EXPECT_EQ(rounded(2.675, 2), 2.67);  // the double lies below 2.675
  EXPECT_EQ(rounded(0.5, 0), 0);
}

TEST(PythonDict, IsTransformersLogLine) {
  EXPECT_EQ(python_dict({{"loss", 1.2345},
                         {"grad_norm", 3.2109999656677246},
                         {"learning_rate", 1.9e-05},
                         {"epoch", 0.0512}}),
            "{'loss': 1.2345, 'grad_norm': 3.2109999656677246, 'learning_rate': 1.9e-05, "
            "'epoch': 0.05}");
}

TEST(TrainLog, KeepsAHistory) {
  TrainLog log(nullptr, /*to_stdout=*/false);
  ::testing::internal::CaptureStderr();
  log.log({{"loss", 2.5}}, 0.123, 10);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "{'loss': 2.5, 'epoch': 0.12}\n");
  EXPECT_EQ(log.history().dump(), R"([{"loss":2.5,"epoch":0.123,"step":10}])");
}

// RFC 3720, B.4.
TEST(EventFile, Checksum) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
}

TEST(EventFile, HoldsRecordsOfEvents) {
  const test::TempDir dir;
  EventFile events(dir.path());
  events.write(7, {{"train/loss", 1.5}});
  const std::string bytes = test::slurp(events.path());
  const auto record_size = [&](std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes.at(at)));
  };
  // length 8, checksum 4, data, checksum 4
  const std::size_t first = record_size(0);
  const std::string version = bytes.substr(12, first);
  EXPECT_NE(version.find("brain.Event:2"), std::string::npos);
  EXPECT_EQ(bytes.substr(0, first + 16), tf_record(version));
  const std::size_t second = record_size(first + 16);
  const std::string event = bytes.substr(first + 28, second);
  EXPECT_EQ(bytes.size(), first + 16 + second + 16);
  EXPECT_EQ(bytes.substr(first + 16), tf_record(event));
  // After the time (9 bytes): step 7; a summary with one value of tag and float.
  EXPECT_EQ(event.substr(9, 2), std::string("\x10\x07"));
  EXPECT_EQ(event.substr(11),
            std::string("\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15", 17) +
                std::string("\x00\x00\xc0\x3f", 4));
}

TEST(RunState, RoundTrips) {
  const test::TempDir dir;
  RunState state;
  state.global_step = 12;
  state.max_steps = 20;
  state.num_train_epochs = 2;
  state.train_batch_size = 4;
  state.epoch = 1.2;
  state.loss_since_log = 0.1 + 0.2;
  state.steps_since_log = 2;
  state.loss_before = 1.0 / 3.0;
  state.num_input_tokens_seen = 1234567;
  state.label_tokens_seen = 999;
  state.log_history = {{{"loss", 0.3333}, {"epoch", 0.5}, {"step", 5}}};
  const auto path = dir.write("trainer_state.json", trainer_state_text(state));
  const RunState read = read_trainer_state(path);
  EXPECT_EQ(read.global_step, 12);
  EXPECT_EQ(read.loss_since_log, state.loss_since_log);
  EXPECT_EQ(read.loss_before, state.loss_before);
  EXPECT_EQ(read.steps_since_log, 2);
  EXPECT_EQ(read.num_input_tokens_seen, 1234567);
  EXPECT_EQ(read.label_tokens_seen, 999);
  EXPECT_EQ(nlohmann::json(read.log_history), nlohmann::json(state.log_history));
  // json.dumps(state, indent=2, sort_keys=True) + "\n"
  const std::string text = test::slurp(path);
  EXPECT_EQ(text.find("{\n  \"best_global_step\": null,\n  \"best_metric\": null,\n"), 0U);
  EXPECT_NE(text.find("    {\n      \"epoch\": 0.5,\n      \"loss\": 0.3333,\n      \"step\": 5\n"),
            std::string::npos);
  EXPECT_EQ(text.back(), '\n');
}

TEST(RunState, DamageIsAnError) {
  const test::TempDir dir;
  for (const char* text : {"{", "[]", "{\"global_step\": 1}", "{\"global_step\": \"one\"}"}) {
    try {
      read_trainer_state(dir.write("trainer_state.json", text));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Checkpoint) << text;
    }
  }
}

}  // namespace
}  // namespace vmla
