#include "service/answer_threshold.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace blazon::service {
namespace {

constexpr const char* kSetting = "refuse_below";

absl::StatusOr<std::optional<double>> ParseKept(const std::string& value) {
  if (value.empty()) return std::nullopt;
  double refuse_below = 0;
  if (!absl::SimpleAtod(value, &refuse_below) || !CheckRefuseBelow(refuse_below).ok()) {
    return absl::DataLossError(absl::StrCat("the collection keeps refuse_below \"", value,
                                            "\", which is not a number from 0 to 1; set it again"));
  }
  return refuse_below;
}

}  // namespace

absl::Status CheckRefuseBelow(double refuse_below) {
  if (refuse_below >= 0 && refuse_below <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("refuse_below is ", refuse_below, "; its range is 0 to 1"));
}

absl::Status KeepRefuseBelow(retrieval::Collection& collection, std::optional<double> refuse_below) {
  if (!refuse_below.has_value()) return collection.SetSetting(kSetting, "");
  if (absl::Status status = CheckRefuseBelow(*refuse_below); !status.ok()) return status;
  return collection.SetSetting(kSetting, absl::StrFormat("%.17g", *refuse_below));
}

absl::StatusOr<std::optional<double>> KeptRefuseBelow(const retrieval::Collection& collection) {
  const absl::StatusOr<std::string> value = collection.Setting(kSetting);
  if (!value.ok()) return value.status();
  return ParseKept(*value);
}

absl::StatusOr<std::optional<double>> KeptRefuseBelow(const retrieval::CollectionStats& stats) {
  const auto found = stats.settings.find(kSetting);
  if (found == stats.settings.end()) return std::nullopt;
  return ParseKept(found->second);
}

}  // namespace blazon::service
