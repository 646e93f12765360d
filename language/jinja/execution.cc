#include "language/jinja/execution.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace blazon::language::jinja {

Value Execution::Fail(std::string_view message) {
  if (status_.ok()) status_ = ErrorAt(absl::StatusCode::kInvalidArgument, position_, message);
  return Value();
}

Value Execution::Refuse(std::string_view construct) {
  if (status_.ok()) {
    status_ = ErrorAt(absl::StatusCode::kUnimplemented, position_,
                      absl::StrCat(std::string(construct), " is not supported by Blazon's template evaluator"));
  }
  return Value();
}

Value Execution::Raise(absl::Status error) {
  if (status_.ok()) status_ = std::move(error);
  return Value();
}

absl::Status Execution::TakeError() {
  if (status_.code() == absl::StatusCode::kResourceExhausted) return absl::OkStatus();
  return std::exchange(status_, absl::OkStatus());
}

bool Execution::Exhausted(std::string_view what, size_t limit) {
  if (status_.ok()) {
    status_ = ErrorAt(absl::StatusCode::kResourceExhausted, position_,
                      absl::StrCat("the template goes beyond the limit of ", limit, " ", std::string(what)));
  }
  return false;
}

bool Execution::CountSteps(size_t steps) {
  steps_ += steps;
  return steps_ <= limits_.steps || Exhausted("steps of evaluation", limits_.steps);
}

bool Execution::TextFits(size_t bytes) {
  return bytes <= limits_.text_bytes || Exhausted("bytes for one string", limits_.text_bytes);
}

bool Execution::MayMakeText(size_t bytes) {
  if (!TextFits(bytes)) return false;
  work_ += bytes;
  return work_ <= limits_.work_bytes || Exhausted("bytes of strings and lists", limits_.work_bytes);
}

bool Execution::MayMakeItems(size_t items) {
  if (items > limits_.items) return Exhausted("items for one list", limits_.items);
  work_ += items * sizeof(Value);
  return work_ <= limits_.work_bytes || Exhausted("bytes of strings and lists", limits_.work_bytes);
}

bool Execution::StorableAll(const std::vector<Value>& items) {
  for (const Value& item : items) {
    if (item.Storable()) continue;
    Refuse(absl::StrCat("a ", std::string(item.TypeName()), " inside a container"));
    return false;
  }
  return true;
}

Value Execution::MakeList(std::vector<Value> items, SequenceKind kind) {
  if (!MayMakeItems(items.size()) || !StorableAll(items)) return Value();
  Value list = Value::List(std::move(items), kind);
  if (list.Depth() > kMaxContainerDepth) Exhausted("levels of nested containers", kMaxContainerDepth);
  return failed() ? Value() : list;
}

Value Execution::MakeGenerator(std::vector<Value> items, absl::Status error) {
  const Value list = MakeList(std::move(items));
  if (failed()) return Value();
  auto generator = std::make_shared<Generator>();
  generator->items = list.AsSequence()->items;
  generator->depth = list.Depth();
  generator->error = std::move(error);
  return generator;
}

Value Execution::MakeDict(Dict dict) {
  if (!MayMakeItems(dict.items.size())) return Value();
  for (const auto& [key, value] : dict.items) {
    if (!value.Storable()) return Refuse(absl::StrCat("a ", std::string(value.TypeName()), " inside a container"));
  }
  if (dict.depth > kMaxContainerDepth) {
    Exhausted("levels of nested containers", kMaxContainerDepth);
    return Value();
  }
  return DictPtr(std::make_shared<const Dict>(std::move(dict)));
}

bool Execution::Enter() {
  if (++depth_ > limits_.depth) return Exhausted("levels of nested evaluation", static_cast<size_t>(limits_.depth));
  return CountSteps();
}

std::tm Execution::Now() const {
  if (now_) return *now_;
  const std::time_t seconds = std::time(nullptr);
  std::tm local{};
  localtime_r(&seconds, &local);
  return local;
}

}  // namespace blazon::language::jinja
