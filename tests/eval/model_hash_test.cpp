#include "eval/model_hash.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

class ModelHashTest : public ::testing::Test {
 protected:
  ModelHashTest() {
    dir_.write("config.json", "{}");
    dir_.write("model-00001-of-00002.safetensors", std::string(20'000'000, 'a'));
    dir_.write("model-00002-of-00002.safetensors", "bb");
    dir_.write("rope_ranks.pth", "r");
    dir_.write("README.md", "not part of the model");
  }
  std::string hash() const { return ModelHash(dir_.path()).hex(); }
  test::TempDir dir_;
};

TEST_F(ModelHashTest, IsWhatSha256sumPrints) {
  EXPECT_EQ(model_hash_files(dir_.path()),
            (std::vector<std::string>{"config.json",
                                      "model-00001-of-00002.safetensors",
                                      "model-00002-of-00002.safetensors",
                                      "rope_ranks.pth"}));
  const auto shell = test::run_command(
      {"sh",
       "-c",
       "cd \"$0\" && sha256sum config.json *.safetensors rope_ranks.pth | sha256sum",
       dir_.path().string()});
  ASSERT_EQ(shell.exit_code, 0) << shell.err;
  EXPECT_EQ(hash() + "  -\n", shell.out);
}

TEST_F(ModelHashTest, SeesOneByteAnywhere) {
  const std::string whole = hash();
  EXPECT_EQ(hash(), whole);
  std::string shard(20'000'000, 'a');
  for (const std::size_t place : {std::size_t{0}, std::size_t{8} << 20, shard.size() - 1}) {
    shard[place] = 'b';
    dir_.write("model-00001-of-00002.safetensors", shard);
    EXPECT_NE(hash(), whole) << place;
    shard[place] = 'a';
  }
  dir_.write("model-00001-of-00002.safetensors", shard);
  EXPECT_EQ(hash(), whole);
  dir_.write("README.md", "another text");
  EXPECT_EQ(hash(), whole);
  dir_.write("config.json", "{ }");
  EXPECT_NE(hash(), whole);
}

TEST_F(ModelHashTest, SeesARenamedFile) {
  const std::string whole = hash();
  fs::rename(dir_ / "model-00002-of-00002.safetensors", dir_ / "model-00003-of-00002.safetensors");
  EXPECT_NE(hash(), whole);
}

TEST_F(ModelHashTest, MayBeGivenUp) {
  { const ModelHash unfinished(dir_.path()); }
  EXPECT_TRUE(test::fails_with(ErrorKind::Io, {"none"}, [&] { ModelHash(dir_ / "none").hex(); }));
}

}  // namespace
}  // namespace vmla
