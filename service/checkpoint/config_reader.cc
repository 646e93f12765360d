#include "service/checkpoint/config_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::service {
namespace {

// A member as a message shows it.
std::string Shown(const nlohmann::json& value) {
  constexpr size_t kShown = 80;
  std::string text = value.is_structured()
                         ? std::string(value.type_name())
                         : value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  return text.size() > kShown ? text.substr(0, kShown) + "..." : text;
}

}  // namespace

const nlohmann::json* ConfigReader::Find(Names names) const {
  for (const char* name : names) {
    const auto found = config_.find(name);
    if (found != config_.end() && !found->is_null()) return &*found;
  }
  return nullptr;
}

void ConfigReader::Fail(const char* name, const std::string& what) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("config: ", name, " ", what));
}

void ConfigReader::Refuse(const std::string& what) {
  if (status_.ok()) status_ = absl::UnimplementedError(absl::StrCat("config: ", what));
}

int64_t ConfigReader::Count(Names names, std::optional<int64_t> fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) {
    if (!fallback) Fail(*names.begin(), "is missing");
    return fallback.value_or(0);
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<uint64_t>() > kMost) ||
      value->get<int64_t>() < 1 || value->get<int64_t>() > kMost) {
    Fail(*names.begin(), absl::StrCat("is ", Shown(*value), "; it must be a whole number from 1 to ", kMost));
    return 0;
  }
  return value->get<int64_t>();
}

double ConfigReader::Positive(Names names, std::optional<double> fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) {
    if (!fallback) Fail(*names.begin(), "is missing");
    return fallback.value_or(0.0);
  }
  if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0) {
    Fail(*names.begin(), absl::StrCat("is ", Shown(*value), "; it must be a number above 0"));
    return 0.0;
  }
  return value->get<double>();
}

bool ConfigReader::Flag(Names names, bool fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(*names.begin(), absl::StrCat("is ", Shown(*value), "; it must be true or false"));
    return fallback;
  }
  return value->get<bool>();
}

std::string ConfigReader::Text(Names names, const std::string& fallback) {
  const nlohmann::json* value = Find(names);
  if (value == nullptr) return fallback;
  if (!value->is_string()) {
    Fail(*names.begin(), absl::StrCat("is ", Shown(*value), "; it must be a text"));
    return fallback;
  }
  return value->get<std::string>();
}

void ConfigReader::Expect(const char* name, std::initializer_list<const char*> known) {
  if (!Has({name})) return;
  const std::string value = Text({name}, "");
  const bool found = std::any_of(known.begin(), known.end(), [&](const char* each) { return value == each; });
  if (!found && status_.ok()) {
    Refuse(absl::StrCat(name, " is \"", value, "\"; Blazon computes ", absl::StrJoin(known, ", ")));
  }
}

}  // namespace blazon::service
