// One rendering under way: where the program is, what it has used up, and its first error.
//
// The evaluator, filters, tests and methods report an error here and give an undefined value back; whoever goes on
// after an operation asks failed() where a loop or a side effect follows. Thread safety: belongs to one rendering.
#pragma once

#include <cstddef>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "language/jinja/lexer.h"
#include "language/jinja/value.h"

namespace blazon::language::jinja {

// What a template may use up; a hostile one fails with kResourceExhausted instead of holding a thread or the memory.
struct Limits {
  size_t steps = 2'000'000;           // expressions and statements evaluated, and items walked through
  size_t work_bytes = 1'000'000'000;  // bytes of all strings and containers made on the way
  size_t text_bytes = 32'000'000;     // of any one string, the output among them
  size_t items = 1'000'000;           // of any one container
  int depth = 400;                    // of nested evaluations: expressions, blocks and macro calls together
};

class Execution {
 public:
  Execution(const Limits& limits, std::optional<std::tm> now) : limits_(limits), now_(now) {}
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  void At(Position position) { position_ = position; }
  Position position() const { return position_; }

  // What Jinja reports as an error, too: kInvalidArgument.
  Value Fail(std::string_view message);
  // What Jinja may be able to do and Blazon is not: kUnimplemented. "`construct` is not supported ...".
  Value Refuse(std::string_view construct);
  Value Raise(absl::Status error);
  // The error, when it is one of the template's own (no limit passed), which then counts as not happened.
  absl::Status TakeError();
  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

  // Each false, and an error, when a limit is passed.
  bool CountSteps(size_t steps = 1);
  // A string of `bytes` or a container of `items` about to be made.
  bool MayMakeText(size_t bytes);
  bool MayMakeItems(size_t items);
  // The same while a string grows; charges nothing.
  bool TextFits(size_t bytes);
  Value MakeList(std::vector<Value> items, SequenceKind kind = SequenceKind::kList);
  Value MakeDict(Dict dict);
  // `error`: what asking for the item behind the last one gives.
  Value MakeGenerator(std::vector<Value> items, absl::Status error = absl::OkStatus());
  bool Enter();
  void Leave() { --depth_; }

  // Local time for strftime_now.
  std::tm Now() const;

 private:
  bool Exhausted(std::string_view what, size_t limit);
  bool StorableAll(const std::vector<Value>& items);

  const Limits limits_;
  const std::optional<std::tm> now_;
  Position position_;
  absl::Status status_;
  size_t steps_ = 0, work_ = 0;
  int depth_ = 0;
};

}  // namespace blazon::language::jinja
