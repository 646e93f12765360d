#include "language/jinja/loop.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/operators.h"

namespace blazon::language::jinja {

std::optional<Value> Loop::Fetch() {
  if (passed_next_ < passed_ahead_.size()) return passed_ahead_[passed_next_++];
  while (next_ < items_.size() && run_.CountSteps() && !run_.failed()) {
    const Value& item = items_[next_++];
    if (!passes_ || passes_(item)) return run_.failed() ? std::nullopt : std::optional<Value>(item);
  }
  return std::nullopt;
}

const std::optional<Value>& Loop::Peek() {
  if (!ahead_) ahead_ = Fetch();
  return ahead_;
}

std::optional<Value> Loop::Next() {
  std::optional<Value> item = ahead_ ? std::exchange(ahead_, std::nullopt) : Fetch();
  if (!item || run_.failed()) return std::nullopt;
  ++index_;
  previous_ = std::exchange(current_, item);
  return item;
}

int64_t Loop::Length() {
  if (length_) return *length_;
  std::vector<Value> rest;
  while (std::optional<Value> item = Fetch()) rest.push_back(*std::move(item));
  passed_ahead_ = std::move(rest);
  passed_next_ = 0;
  length_ = index_ + 1 + (ahead_ ? 1 : 0) + static_cast<int64_t>(passed_ahead_.size());
  return *length_;
}

std::optional<Value> Loop::Attribute(Execution& run, std::string_view name) {
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(!Peek());
  if (name == "length") return Value(Length());
  if (name == "revindex") return Value(Length() - index_);
  if (name == "revindex0") return Value(Length() - index_ - 1);
  // Only recursive loops, which the parser refuses, go deeper.
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") return previous_ ? *previous_ : Value(Undefined{"there is no previous item"});
  if (name == "nextitem") return Peek() ? *Peek() : Value(Undefined{"there is no next item"});
  if (name == "cycle" || name == "changed") {
    return Value(std::make_shared<const Method>(Method{Value(this), std::string(name)}));
  }
  return run.Refuse(absl::StrCat("the attribute '", std::string(name), "' of loop"));
}

Value Loop::Call(Execution& run, std::string_view name, const Arguments& arguments) {
  if (!arguments.named.empty()) return run.Fail(absl::StrCat("loop.", std::string(name), " takes no named arguments"));
  if (name == "cycle") {
    if (arguments.positional.empty()) return run.Fail("loop.cycle needs items to cycle through");
    return arguments.positional[static_cast<size_t>(index_) % arguments.positional.size()];
  }
  bool changed = !last_changed_ || last_changed_->size() != arguments.positional.size();
  for (size_t i = 0; i < arguments.positional.size() && !changed; ++i) {
    changed = !Equals(run, (*last_changed_)[i], arguments.positional[i]);
  }
  if (changed) last_changed_ = arguments.positional;
  return changed;
}

}  // namespace blazon::language::jinja
