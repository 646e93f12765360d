#include "service/hub/token.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "service/hub/environment.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::streamsize kMaxTokenBytes = 4096;

}  // namespace

absl::StatusOr<HubToken> FindToken(const std::function<const char*(const char*)>& get) {
  const Environment environment(get);
  if (environment.IsSwitchedOn("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
    return HubToken{"", "use: HF_HUB_DISABLE_IMPLICIT_TOKEN is set"};
  }
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    std::string value = environment.Value(name);
    absl::StripAsciiWhitespace(&value);
    if (!value.empty()) return HubToken{std::move(value), name};
  }
  fs::path path = environment.Path("HF_TOKEN_PATH");
  if (path.empty()) path = environment.HubHome() / "token";
  const HubToken none = {"", absl::StrCat("HF_TOKEN, nor in ", path.string())};
  std::error_code error;
  if (!fs::exists(path, error)) return none;
  std::string text(kMaxTokenBytes + 1, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), kMaxTokenBytes + 1);
  if (!fs::is_regular_file(path, error) || file.bad() || (!file && !file.eof())) {
    return absl::FailedPreconditionError(
        absl::StrCat(path.string(),
                     ", where the hub's token is kept, cannot be read. Give yourself the right to, or set HF_TOKEN."));
  }
  if (file.gcount() > kMaxTokenBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(path.string(), " has more than ", kMaxTokenBytes,
                     " bytes, and so is no token. Write the token into it, or set HF_TOKEN."));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  absl::StripAsciiWhitespace(&text);
  if (text.empty()) return none;
  return HubToken{std::move(text), path.string()};
}

}  // namespace blazon::service::hub
