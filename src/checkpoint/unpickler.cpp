#include "checkpoint/unpickler.h"

#include <array>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/quote.h"
#include "checkpoint/byte_reader.h"
#include "checkpoint/dtype.h"
#include "checkpoint/safetensors_header.h"

namespace vmla {
namespace {

constexpr std::size_t kMostValues =
    4'000'000;  // some 150,000 tensors; bounds what a hostile file can allocate

enum class Global { RebuildTensor, RebuildParameter, OrderedDict, Storage };

struct KnownGlobal {
  std::string_view name;  // module, space, attribute
  Global global;
  at::ScalarType dtype = at::ScalarType::Byte;
};

constexpr std::array kGlobals = {
    KnownGlobal{"torch._utils _rebuild_tensor_v2", Global::RebuildTensor},
    KnownGlobal{"torch._utils _rebuild_parameter", Global::RebuildParameter},
    KnownGlobal{"collections OrderedDict", Global::OrderedDict},
    KnownGlobal{"torch FloatStorage", Global::Storage, at::ScalarType::Float},
    KnownGlobal{"torch HalfStorage", Global::Storage, at::ScalarType::Half},
    KnownGlobal{"torch BFloat16Storage", Global::Storage, at::ScalarType::BFloat16},
    KnownGlobal{"torch DoubleStorage", Global::Storage, at::ScalarType::Double},
    KnownGlobal{"torch LongStorage", Global::Storage, at::ScalarType::Long},
    KnownGlobal{"torch IntStorage", Global::Storage, at::ScalarType::Int},
    KnownGlobal{"torch ShortStorage", Global::Storage, at::ScalarType::Short},
    KnownGlobal{"torch CharStorage", Global::Storage, at::ScalarType::Char},
    KnownGlobal{"torch ByteStorage", Global::Storage, at::ScalarType::Byte},
    KnownGlobal{"torch BoolStorage", Global::Storage, at::ScalarType::Bool},
};

struct Node {
  enum class Kind {
    Mark,
    None,
    Bool,
    Int,
    String,
    Tuple,
    Dict,
    OrderedDict,
    Global,
    Storage,
    Tensor
  };
  Kind kind = Kind::None;
  std::int64_t number = 0;   // Int, Bool
  std::string_view text;     // String: a view of the pickle
  std::vector<Node*> items;  // Tuple; Dict and OrderedDict: key, value, key, value…
  const KnownGlobal* global = nullptr;
  // Storage: the whole of it; Tensor
  std::shared_ptr<const PickledTensor> tensor;
};
using Kind = Node::Kind;

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::Mark:
      return "a mark";
    case Kind::None:
      return "None";
    case Kind::Bool:
      return "a boolean";
    case Kind::Int:
      return "an integer";
    case Kind::String:
      return "a string";
    case Kind::Tuple:
      return "a tuple";
    case Kind::Dict:
    case Kind::OrderedDict:
      return "a dict";
    case Kind::Global:
      return "a class or function";
    case Kind::Storage:
      return "a storage";
    case Kind::Tensor:
      return "a tensor";
  }
  return "something else";
}

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> pickle,
            const StorageCheck& check_storage,
            const std::string& subject)
      : pickle_(pickle, subject, "data.pkl"), check_storage_(check_storage), subject_(subject) {}

  PickledTensors run() {
    require(pickle_.u8() == 0x80, "a pickle of protocol 2 or 3");
    const int protocol = pickle_.u8();
    require(protocol == 2 || protocol == 3, "a pickle of protocol 2 or 3");
    while (step()) {
    }
    require(pickle_.done() && stack_.size() == 1, "one value and nothing after it");
    return result(*stack_.back());
  }

 private:
  void require(bool ok, const char* expected) const {
    check(ok,
          ErrorKind::Checkpoint,
          "{}: data.pkl: expected {} at byte {}",
          subject_,
          expected,
          pickle_.at());
  }

  Node& push(Kind kind) {
    require(nodes_.size() < kMostValues, "fewer values");
    Node& node = nodes_.emplace_back();
    node.kind = kind;
    stack_.push_back(&node);
    return node;
  }

  Node* pop() {
    require(!stack_.empty() && stack_.back()->kind != Kind::Mark, "a value on the stack");
    Node* node = stack_.back();
    stack_.pop_back();
    return node;
  }

  Node* pop(Kind kind) {
    Node* node = pop();
    check(node->kind == kind,
          ErrorKind::Checkpoint,
          "{}: data.pkl: expected {} before byte {}, got {}",
          subject_,
          kind_name(kind),
          pickle_.at(),
          kind_name(node->kind));
    return node;
  }

  // Everything above the topmost mark, and removes the mark.
  std::vector<Node*> pop_mark() {
    std::size_t at = stack_.size();
    while (at > 0 && stack_[at - 1]->kind != Kind::Mark) --at;
    require(at > 0, "a mark on the stack");
    std::vector<Node*> items(stack_.begin() + static_cast<std::ptrdiff_t>(at), stack_.end());
    stack_.resize(at - 1);
    return items;
  }

  void tuple(std::size_t count) {
    std::vector<Node*> items(count);
    while (count > 0) items[--count] = pop();
    push(Kind::Tuple).items = std::move(items);
  }

  void integer(std::int64_t value) { push(Kind::Int).number = value; }

  void memoize(std::uint32_t slot) {
    require(!stack_.empty() && stack_.back()->kind != Kind::Mark, "a value to remember");
    memo_[slot] = stack_.back();
  }

  void recall(std::uint32_t slot) {
    const auto it = memo_.find(slot);
    require(it != memo_.end(), "a remembered value");
    stack_.push_back(it->second);
  }

  void add_items(const std::vector<Node*>& items) {
    require(!stack_.empty() && is_dict(*stack_.back()) && items.size() % 2 == 0,
            "a dict and pairs for it");
    auto& pairs = stack_.back()->items;
    pairs.insert(pairs.end(), items.begin(), items.end());
  }

  static bool is_dict(const Node& node) {
    return node.kind == Kind::Dict || node.kind == Kind::OrderedDict;
  }

  // One opcode; false at STOP.
  bool step() {
    const std::uint8_t opcode = pickle_.u8();
    switch (opcode) {
      case '.':
        return false;
      case '(':
        push(Kind::Mark);
        break;
      case 'N':
        push(Kind::None);
        break;
      case 0x88:
        push(Kind::Bool).number = 1;
        break;
      case 0x89:
        push(Kind::Bool).number = 0;
        break;
      case 'J':
        integer(static_cast<std::int32_t>(pickle_.u32()));
        break;
      case 'K':
        integer(pickle_.u8());
        break;
      case 'M':
        integer(pickle_.u16());
        break;
      case 0x8a:
        integer(long_integer(pickle_.u8()));
        break;
      case 'X':
        push(Kind::String).text = pickle_.text(pickle_.u32());
        break;
      case ')':
        push(Kind::Tuple);
        break;
      case 0x85:
        tuple(1);
        break;
      case 0x86:
        tuple(2);
        break;
      case 0x87:
        tuple(3);
        break;
      case 't': {
        std::vector<Node*> items = pop_mark();
        push(Kind::Tuple).items = std::move(items);
        break;
      }
      case '}':
        push(Kind::Dict);
        break;
      case 's': {
        Node* value = pop();
        Node* key = pop();
        add_items({key, value});
        break;
      }
      case 'u':
        add_items(pop_mark());
        break;
      case 'q':
        memoize(pickle_.u8());
        break;
      case 'r':
        memoize(pickle_.u32());
        break;
      case 'h':
        recall(pickle_.u8());
        break;
      case 'j':
        recall(pickle_.u32());
        break;
      case 'c':
        global();
        break;
      case 'Q':
        storage();
        break;
      case 'R':
        reduce();
        break;
      case 'b':
        build();
        break;
      default:
        fail(
            ErrorKind::Checkpoint,
            "{}: data.pkl: expected only tensors and dicts of them, got opcode 0x{:02x} at byte {}",
            subject_,
            opcode,
            pickle_.at() - 1);
    }
    return true;
  }

  std::int64_t long_integer(std::uint8_t size) {
    require(size <= 8, "an integer of at most 64 bits");
    if (size == 0) return 0;
    std::uint64_t value = pickle_.number(size);
    const bool negative = (value >> (8 * size - 1) & 1) != 0;
    if (negative && size < 8) value |= ~std::uint64_t{0} << (8 * size);
    return static_cast<std::int64_t>(value);
  }

  std::string_view line() {
    const std::uint64_t longest = 256;
    std::uint64_t size = 0;
    ByteReader ahead = pickle_;
    while (ahead.u8() != '\n') require(++size < longest, "a shorter name");
    const std::string_view text = pickle_.text(size);
    pickle_.u8();
    return text;
  }

  void global() {
    std::string name(line());
    name += ' ';
    name += line();
    for (const KnownGlobal& known : kGlobals) {
      if (known.name != name) continue;
      push(Kind::Global).global = &known;
      return;
    }
    fail(ErrorKind::Checkpoint,
         "{}: data.pkl: expected only tensors and dicts of them, got a reference to {} (not run)",
         subject_,
         quote(name));
  }

  // ("storage", class, key, location, count)
  void storage() {
    const Node& id = *pop(Kind::Tuple);
    require(id.items.size() == 5 && id.items[0]->kind == Kind::String &&
                id.items[0]->text == "storage" && id.items[1]->kind == Kind::Global &&
                id.items[1]->global->global == Global::Storage &&
                id.items[2]->kind == Kind::String && id.items[3]->kind == Kind::String &&
                id.items[4]->kind == Kind::Int && id.items[4]->number >= 0,
            "a storage of known type");
    PickledTensor whole;
    whole.storage = {
        std::string(id.items[2]->text), id.items[1]->global->dtype, id.items[4]->number};
    check_storage_(whole.storage);
    push(Kind::Storage).tensor = std::make_shared<const PickledTensor>(std::move(whole));
  }

  void reduce() {
    const Node& arguments = *pop(Kind::Tuple);
    const Node& callable = *pop(Kind::Global);
    switch (callable.global->global) {
      case Global::OrderedDict:
        require(arguments.items.empty(), "an empty OrderedDict");
        push(Kind::OrderedDict);
        return;
      case Global::RebuildTensor: {
        auto tensor = std::make_shared<const PickledTensor>(rebuild(arguments.items));
        push(Kind::Tensor).tensor = std::move(tensor);
        return;
      }
      case Global::RebuildParameter:
        require(arguments.items.size() == 3 && arguments.items[0]->kind == Kind::Tensor,
                "a parameter's tensor");
        push(Kind::Tensor).tensor = arguments.items[0]->tensor;
        return;
      case Global::Storage:
        break;
    }
    fail(ErrorKind::Checkpoint,
         "{}: data.pkl: expected no call of {}",
         subject_,
         quote(callable.global->name));
  }

  // The state of an OrderedDict is the _metadata that modules attach to their state dict.
  void build() {
    const Node* state = pop();
    require(is_dict(*state) && !stack_.empty() && stack_.back()->kind == Kind::OrderedDict,
            "attributes of an OrderedDict only");
  }

  std::vector<std::int64_t> integers(const Node& tuple) const {
    require(tuple.kind == Kind::Tuple && tuple.items.size() <= 64,
            "a tuple of at most 64 integers");
    std::vector<std::int64_t> values;
    for (const Node* item : tuple.items) {
      require(item->kind == Kind::Int && item->number >= 0, "integers from 0");
      values.push_back(item->number);
    }
    return values;
  }

  // (storage, offset, sizes, strides, requires_grad, hooks): a view that stays within the storage.
  PickledTensor rebuild(const std::vector<Node*>& arguments) const {
    require(arguments.size() >= 4 && arguments[0]->kind == Kind::Storage &&
                arguments[1]->kind == Kind::Int && arguments[1]->number >= 0,
            "the storage, offset, sizes and strides of a tensor");
    PickledTensor view;
    view.storage = arguments[0]->tensor->storage;
    view.offset = arguments[1]->number;
    view.sizes = integers(*arguments[2]);
    view.strides = integers(*arguments[3]);
    require(view.sizes.size() == view.strides.size(), "as many strides as sizes");
    const StorageId& storage = view.storage;
    view.bytes = checked_bytes(view.sizes, storage.dtype, subject_ + ": data.pkl");
    if (view.bytes == 0) return view;
    std::int64_t last = view.offset;
    bool fits = true;
    for (std::size_t i = 0; i < view.sizes.size(); ++i) {
      std::int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(view.sizes[i] - 1, view.strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    const std::uint64_t elements = view.bytes / dtype_bytes(storage.dtype);
    check(fits && last < storage.count && elements <= static_cast<std::uint64_t>(storage.count),
          ErrorKind::Checkpoint,
          "{}: data.pkl: expected a tensor within its storage of {} elements, got sizes [{}], "
          "strides [{}], offset {}",
          subject_,
          storage.count,
          fmt::join(view.sizes, ", "),
          fmt::join(view.strides, ", "),
          view.offset);
    return view;
  }

  PickledTensors result(const Node& top) const {
    PickledTensors file;
    if (top.kind == Kind::Tensor) {
      file.is_tensor = true;
      file.tensor = *top.tensor;
      return file;
    }
    check(is_dict(top),
          ErrorKind::Checkpoint,
          "{}: expected tensors, got {}",
          subject_,
          kind_name(top.kind));
    for (std::size_t i = 0; i < top.items.size(); i += 2) {
      const Node& key = *top.items[i];
      const Node& value = *top.items[i + 1];
      check(key.kind == Kind::String,
            ErrorKind::Checkpoint,
            "{}: expected tensor names, got {}",
            subject_,
            kind_name(key.kind));
      check(value.kind == Kind::Tensor,
            ErrorKind::Checkpoint,
            "{}: {}: expected a tensor, got {}",
            subject_,
            quote(key.text),
            kind_name(value.kind));
      check(file.named.emplace(key.text, *value.tensor).second,
            ErrorKind::Checkpoint,
            "{}: duplicate key {}",
            subject_,
            quote(key.text));
    }
    return file;
  }

  ByteReader pickle_;
  const StorageCheck& check_storage_;
  const std::string& subject_;
  std::deque<Node>
      nodes_;  // owns all values, so that cycles and deep nesting are freed without recursion
  std::vector<Node*> stack_;
  std::unordered_map<std::uint32_t, Node*> memo_;
};

}  // namespace

PickledTensors unpickle_tensors(std::span<const std::byte> pickle,
                                const StorageCheck& check_storage,
                                const std::string& subject) {
  return Unpickler(pickle, check_storage, subject).run();
}

}  // namespace vmla
