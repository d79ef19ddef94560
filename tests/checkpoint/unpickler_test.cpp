#include "checkpoint/unpickler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/zip_bytes.h"
#include "support/expect_close.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::fails_with;
using test::le;

struct Tensors {
  at::Tensor tensor;
  std::map<std::string, at::Tensor> named;
};

// Pickles written out by hand; the storage is always float [6] = 0..5.
Tensors read(const std::string& pickle) {
  const StorageCheck expected = [](const StorageId& id) {
    EXPECT_EQ(id.key, "0");
    EXPECT_EQ(id.dtype, at::kFloat);
    EXPECT_EQ(id.count, 6);
  };
  const PickledTensors file = unpickle_tensors(std::as_bytes(std::span(pickle)), expected, "f");
  const at::Tensor flat = at::arange(6, at::kFloat);
  const auto view = [&](const PickledTensor& t) {
    EXPECT_EQ(t.storage.key, "0");
    return flat.as_strided(t.sizes, t.strides, t.offset);
  };
  Tensors out;
  if (file.is_tensor) out.tensor = view(file.tensor);
  for (const auto& [name, tensor] : file.named) out.named[name] = view(tensor);
  return out;
}

testing::AssertionResult refused(const std::string& message, const std::string& body) {
  return fails_with(ErrorKind::Checkpoint, {"f: ", message}, [&] { read("\x80\x02" + body); });
}

std::string text(const std::string& value) {
  return "X" + le(value.size(), 4) + value;
}
const std::string kRebuild = "ctorch._utils\n_rebuild_tensor_v2\n";
const std::string kOrdered = "ccollections\nOrderedDict\n)R";
const std::string kStorage =
    "(" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + "K\6tQ";

// offset, sizes and strides are pickled as given.
std::string tensor(const std::string& offset,
                   const std::string& sizes,
                   const std::string& strides) {
  return kRebuild + "(" + kStorage + offset + sizes + strides + "\x89" + kOrdered + "tR";
}
const std::string kTensor = tensor(std::string("K\0", 2), "K\6\x85", "K\1\x85");

std::string long_text(std::int64_t value) {
  return "\x8a\x08" + le(static_cast<std::uint64_t>(value), 8);
}

TEST(Unpickler, TensorsAndDicts) {
  EXPECT_TRUE(test::same_bits(read("\x80\x02" + kTensor + ".").tensor, at::arange(6, at::kFloat)));
  const std::string view = tensor("K\1", "K\2K\2\x86", "K\2K\1\x86");
  EXPECT_TRUE(test::same_bits(read("\x80\x02" + view + ".").tensor,
                              at::tensor({1.F, 2.F, 3.F, 4.F}).view({2, 2})));
  EXPECT_EQ(read("\x80\x03}.").named.size(), 0U);
  EXPECT_EQ(read("\x80\x02" + kOrdered + "(" + text("a") + kTensor + text("b") + kTensor + "u.")
                .named.size(),
            2U);
  EXPECT_EQ(read("\x80\x02}" + text("a") + kTensor + "s.").named.size(), 1U);
}

TEST(Unpickler, Integers) {
  const auto offset_is = [](const std::string& offset, float first) {
    const std::string pickle = "\x80\x02" + tensor(offset, "K\1\x85", "K\1\x85") + ".";
    return read(pickle).tensor.item<float>() == first;
  };
  EXPECT_TRUE(offset_is("K\5", 5));
  EXPECT_TRUE(offset_is("M" + le(4, 2), 4));
  EXPECT_TRUE(offset_is("J" + le(3, 4), 3));
  EXPECT_TRUE(offset_is("\x8a\x01\x02", 2));
  EXPECT_TRUE(offset_is(std::string("\x8a\0", 2), 0));
  EXPECT_TRUE(offset_is(long_text(1), 1));
  EXPECT_TRUE(
      refused("64 bits", tensor("\x8a\x09" + std::string(9, '\1'), "K\1\x85", "K\1\x85") + "."));
}

TEST(Unpickler, MemoSharesTensors) {
  const std::string pickle = "\x80\x02}(" + text("a") + kTensor + "q\1" + text("b") + "h\1" +
                             text("c") + "r" + le(70000, 4) + kTensor + "u.";
  const auto file = read(pickle);
  EXPECT_EQ(file.named.size(), 3U);
  EXPECT_TRUE(test::same_bits(file.named.at("a"), file.named.at("b")));
}

TEST(Unpickler, StateOfOrderedDictIsIgnored) {
  const std::string metadata = "}" + text("_metadata") + kOrdered + "sb";
  EXPECT_EQ(read("\x80\x02" + kOrdered + text("a") + kTensor + "s" + metadata + ".").named.size(),
            1U);
  EXPECT_TRUE(refused("attributes of an OrderedDict only", "}" + metadata + "."));
  EXPECT_TRUE(refused("attributes of an OrderedDict only", kTensor + metadata + "."));
  EXPECT_TRUE(refused("attributes of an OrderedDict only", kOrdered + ")b."));
  EXPECT_TRUE(refused("attributes of an OrderedDict only", "}b."));
}

TEST(Unpickler, ViewsStayWithinTheStorage) {
  const std::string zero("K\0", 2);
  const auto view =
      [&](const std::string& offset, const std::string& sizes, const std::string& strides) {
        return tensor(offset, sizes, strides) + ".";
      };
  EXPECT_TRUE(refused("within its storage of 6 elements", view("K\1", "K\6\x85", "K\1\x85")));
  EXPECT_TRUE(refused("within its storage", view(zero, "K\7\x85", "K\1\x85")));
  EXPECT_TRUE(refused("within its storage", view(zero, "K\3\x85", "K\3\x85")));
  EXPECT_TRUE(refused("within its storage", view(zero, "K\7\x85", zero + "\x85")));
  EXPECT_TRUE(refused("within its storage", view("K\6", "K\1\x85", "K\1\x85")));
  EXPECT_TRUE(refused("within its storage", view("K\6", ")", ")")));
  EXPECT_TRUE(refused("within its storage", view(long_text(INT64_MAX), "K\2\x85", "K\1\x85")));
  EXPECT_TRUE(refused("within its storage", view(zero, "K\3\x85", long_text(INT64_MAX) + "\x85")));
  EXPECT_TRUE(
      refused("less than 2^63 bytes", view(zero, long_text(INT64_MAX) + "\x85", zero + "\x85")));
  EXPECT_TRUE(refused("less than 2^63 bytes",
                      view(zero, zero + long_text(INT64_MAX) + "\x86", zero + zero + "\x86")));
  EXPECT_TRUE(refused("integers from 0", view(zero, "J" + le(0xffffffff, 4) + "\x85", "K\1\x85")));
  EXPECT_TRUE(refused("integers from 0", view(zero, "K\2\x85", long_text(-1) + "\x85")));
  EXPECT_TRUE(refused("offset, sizes and strides", view(long_text(-1), "K\2\x85", "K\1\x85")));
  EXPECT_TRUE(refused("as many strides", view(zero, "K\2\x85", "K\1K\1\x86")));
  EXPECT_TRUE(refused("tuple of at most 64", view(zero, "}", "K\1\x85")));
  EXPECT_TRUE(
      refused("tuple of at most 64", view(zero, "(" + std::string(130, 'N') + "t", "K\1\x85")));
  EXPECT_TRUE(refused("integers from 0", view(zero, text("2") + "\x85", "K\1\x85")));
}

TEST(Unpickler, StoragesOfKnownType) {
  const auto storage = [](const std::string& items) { return "(" + items + "tQ."; };
  const std::string kind = "ctorch\nFloatStorage\n";
  EXPECT_TRUE(
      refused("storage of known type", storage(text("storage") + kind + text("0") + text("cpu"))));
  EXPECT_TRUE(refused("storage of known type",
                      storage(text("module") + kind + text("0") + text("cpu") + "K\6")));
  EXPECT_TRUE(refused("storage of known type",
                      storage(text("storage") + text("x") + text("0") + text("cpu") + "K\6")));
  EXPECT_TRUE(refused(
      "storage of known type",
      storage(text("storage") + "ccollections\nOrderedDict\n" + text("0") + text("cpu") + "K\6")));
  EXPECT_TRUE(refused("storage of known type",
                      storage(text("storage") + kind + text("0") + text("cpu") + long_text(-1))));
  EXPECT_TRUE(refused("storage of known type",
                      storage(text("storage") + kind + "K\1" + text("cpu") + "K\6")));
  EXPECT_TRUE(refused("expected a tuple before byte", "}Q."));
  EXPECT_TRUE(refused("expected tensors, got a storage", kStorage + "."));
}

TEST(Unpickler, CallsNothingElse) {
  for (const std::string name : {"os\nsystem",
                                 "posix\nsystem",
                                 "builtins\neval",
                                 "torch\nload",
                                 "torch._utils\n_rebuild",
                                 "torch.storage\n_load_from_bytes",
                                 "collections\nOrderedDict ",
                                 "torch\n_utils FloatStorage"}) {
    EXPECT_TRUE(refused("(not run)", "c" + name + "\n)R.")) << name;
  }
  EXPECT_TRUE(refused("no call of \"torch FloatStorage\"", "ctorch\nFloatStorage\n)R."));
  EXPECT_TRUE(refused("an empty OrderedDict", "ccollections\nOrderedDict\n}\x85R."));
  EXPECT_TRUE(refused("a parameter's tensor", "ctorch._utils\n_rebuild_parameter\n}\x88}\x87R."));
  EXPECT_TRUE(refused("expected a class or function", "})R."));
  EXPECT_TRUE(refused("expected a tuple", "ccollections\nOrderedDict\n}R."));
  EXPECT_TRUE(refused("expected tensors, got a class or function", "ccollections\nOrderedDict\n."));
  // INST, OBJ, NEWOBJ, NEWOBJ_EX, STACK_GLOBAL, EXT1, EXT2, EXT4, FRAME, MEMOIZE, PERSID,
  // BYTEARRAY8, DUP, POP, lists
  for (const char opcode : std::string("io\x81\x92\x93\x82\x83\x84\x95\x94P\x96"
                                       "20]ael")) {
    EXPECT_TRUE(refused("opcode 0x", std::string("}") + opcode + std::string(8, '\0') + "."));
  }
  EXPECT_TRUE(refused("a shorter name", "c" + std::string(10'000, 'x')));
}

TEST(Unpickler, BrokenStacks) {
  EXPECT_TRUE(refused("one value", "."));
  EXPECT_TRUE(refused("one value", "}}."));
  EXPECT_TRUE(refused("one value", "}.}"));
  EXPECT_TRUE(refused("expected tensors, got a mark", "(."));
  EXPECT_TRUE(refused("ends early", "}"));
  EXPECT_TRUE(refused("ends early", ""));
  EXPECT_TRUE(refused("ends early", "X" + le(1000, 4) + "x"));
  EXPECT_TRUE(refused("ends early", "X" + le(0xffffffff, 4) + "x"));
  EXPECT_TRUE(refused("a mark on the stack", "t."));
  EXPECT_TRUE(refused("a mark on the stack", "}u."));
  EXPECT_TRUE(refused("a value on the stack", "\x85."));
  EXPECT_TRUE(refused("a value on the stack", "(\x85."));
  EXPECT_TRUE(refused("a value on the stack", "R."));
  EXPECT_TRUE(refused("a value to remember", "q\1."));
  EXPECT_TRUE(refused("a value to remember", "(q\1."));
  EXPECT_TRUE(refused("a remembered value", "h\1."));
  EXPECT_TRUE(refused("a remembered value", "j" + le(1, 4) + "."));
  EXPECT_TRUE(refused("a dict and pairs", "N" + text("a") + "Ns."));
  EXPECT_TRUE(refused("a dict and pairs", "}(Nu."));
  EXPECT_TRUE(refused("a dict and pairs", "(Nu."));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"protocol 2 or 3"}, [] { read("\x80\x05}."); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"protocol 2 or 3"}, [] { read("}."); }));
}

TEST(Unpickler, DictsHoldOnlyTensorsUnderNames) {
  EXPECT_TRUE(refused("\"a\": expected a tensor, got None", "}" + text("a") + "Ns."));
  EXPECT_TRUE(refused("expected tensor names, got an integer", "}K\1" + kTensor + "s."));
  EXPECT_TRUE(
      refused("duplicate key \"a\"", "}(" + text("a") + kTensor + text("a") + kTensor + "u."));
  EXPECT_TRUE(refused("\"a\": expected a tensor, got a dict",
                      "}q\1" + text("a") + "h\1s."));  // holds itself
  EXPECT_TRUE(refused("expected tensors, got a tuple", kTensor + "\x85."));
}

TEST(Unpickler, NestingAndSizeAreBounded) {
  std::string deep = "N";
  for (int i = 0; i < 1'000'000; ++i) deep += "\x85";
  EXPECT_TRUE(refused("expected tensors, got a tuple", deep + "."));
  // Each level holds the last one twice: 2^60 values if they were copied.
  std::string doubling = "N";
  for (int i = 0; i < 60; ++i) doubling += "q\1h\1\x86";
  EXPECT_TRUE(refused("expected tensors, got a tuple", doubling + "."));
  EXPECT_TRUE(refused("fewer values", std::string(5'000'000, 'N') + "."));
}

}  // namespace
}  // namespace vmla
