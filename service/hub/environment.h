// Variables of the environment as the hub's Python client reads them: one set to nothing counts as not set, and a
// leading "~/" is the home folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/match.h"

namespace blazon::service::hub {

class Environment {
 public:
  // `get` as std::getenv.
  explicit Environment(std::function<const char*(const char*)> get) : get_(std::move(get)) {}

  std::string Value(const char* name) const {
    const char* text = get_(name);
    return text == nullptr ? "" : text;
  }

  bool IsSwitchedOn(const char* name) const {
    const std::string value = Value(name);
    return !value.empty() && value != "0" && value != "false" && value != "no" && value != "off";
  }

  // Empty where it is not set.
  std::filesystem::path Path(const char* name) const {
    const std::string text = Value(name);
    if (text == "~" || absl::StartsWith(text, "~/")) return Value("HOME") + text.substr(1);
    return text;
  }

  // Where that client keeps all of its own: HF_HOME, XDG_CACHE_HOME/huggingface, ~/.cache/huggingface; the first that
  // is set.
  std::filesystem::path HubHome() const {
    if (std::filesystem::path home = Path("HF_HOME"); !home.empty()) return home;
    if (const std::filesystem::path cache = Path("XDG_CACHE_HOME"); !cache.empty()) return cache / "huggingface";
    return std::filesystem::path(Value("HOME")) / ".cache/huggingface";
  }

 private:
  const std::function<const char*(const char*)> get_;
};

}  // namespace blazon::service::hub
