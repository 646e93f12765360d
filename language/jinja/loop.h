// The variable `loop` of a for statement.
//
// Jinja walks through what is looped over item by item, and an `if` behind the loop is tested only when its item is
// due; so is it here, since the body may change a namespace that the test reads.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "language/jinja/arguments.h"
#include "language/jinja/execution.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

class Loop {
 public:
  // `passes`: the test behind "if"; empty: every item does.
  Loop(Execution& run, std::vector<Value> items, std::function<bool(const Value&)> passes)
      : run_(run), items_(std::move(items)), passes_(std::move(passes)) {}

  // The next item; nullopt behind the last and after an error.
  std::optional<Value> Next();

  // "index", "last", "previtem", ...; nullopt: there is none of that name.
  std::optional<Value> Attribute(Execution& run, std::string_view name);
  // "cycle" or "changed".
  Value Call(Execution& run, std::string_view name, const Arguments& arguments);

 private:
  std::optional<Value> Fetch();
  const std::optional<Value>& Peek();
  int64_t Length();

  Execution& run_;
  const std::vector<Value> items_;
  const std::function<bool(const Value&)> passes_;
  size_t next_ = 0;     // in items_
  int64_t index_ = -1;  // of the current item, from 0
  std::optional<Value> previous_, current_, ahead_;
  std::vector<Value> passed_ahead_;  // found while counting, not yet given out
  size_t passed_next_ = 0;
  std::optional<int64_t> length_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace blazon::language::jinja
