// Reads the members of a checkpoint's config and remembers the first one that is wrong.
//
// Thread safety: none. The JSON value must outlive the reader.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace blazon::service {

// Names: the first that the config has, and that is not null, counts; older spellings come later.
class ConfigReader {
 public:
  using Names = std::initializer_list<const char*>;

  explicit ConfigReader(const nlohmann::json& config) : config_(config) {}

  // 1 to 2^31 - 1; `fallback` where none is given, which without a value makes a missing member an error.
  int64_t Count(Names names, std::optional<int64_t> fallback = std::nullopt);
  // A finite number above 0.
  double Positive(Names names, std::optional<double> fallback = std::nullopt);
  // A finite number above 0, or 0 where it is missing or null: switched off.
  double PositiveOrOff(Names names) { return Has(names) ? Positive(names) : 0.0; }
  bool Flag(Names names, bool fallback);
  std::string Text(Names names, const std::string& fallback);
  bool Has(Names names) const { return Find(names) != nullptr; }
  const nlohmann::json* Find(Names names) const;  // null: none

  // Remembers that the config asks for what Blazon does not compute.
  void Refuse(const std::string& what);
  // Refuses `name` unless it is missing or one of `known`.
  void Expect(const char* name, std::initializer_list<const char*> known);

  // kInvalidArgument: a member is missing or out of range. kUnimplemented: it asks for what is not there. The message
  // names it.
  const absl::Status& status() const { return status_; }

 private:
  void Fail(const char* name, const std::string& what);

  const nlohmann::json& config_;
  absl::Status status_;
};

}  // namespace blazon::service
