#include "service/hub/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace blazon::service::hub {
namespace {

using Handle = std::unique_ptr<CURLU, void (*)(CURLU*)>;

// A part of the address; "" where it has none.
std::string Part(CURLU* handle, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(handle, part, &text, flags) != CURLUE_OK) return "";
  std::string result = text;
  curl_free(text);
  return result;
}

absl::Status NoAddress(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("'", absl::Utf8SafeCHexEscape(std::string(text.substr(0, 200))),
                                                 "' is no http or https address (https://host[:port][/path])"));
}

absl::StatusOr<Url> Read(CURLU* handle, absl::string_view text) {
  Url url;
  url.text = Part(handle, CURLUPART_URL);
  url.scheme = Part(handle, CURLUPART_SCHEME);
  url.host = absl::AsciiStrToLower(Part(handle, CURLUPART_HOST));
  url.port = Part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if ((url.scheme != "http" && url.scheme != "https") || url.host.empty()) return NoAddress(text);
  if (!Part(handle, CURLUPART_USER).empty() || !Part(handle, CURLUPART_PASSWORD).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("an address with a user's name in it is not taken: ", url.scheme, "://...@", url.host));
  }
  return url;
}

}  // namespace

std::string Url::Origin() const { return absl::StrCat(scheme, "://", host, ":", port); }

bool Url::IsLoopback() const {
  in_addr address = {};
  const bool is_address = inet_pton(AF_INET, host.c_str(), &address) == 1;
  return host == "localhost" || host == "[::1]" || (is_address && ntohl(address.s_addr) >> 24 == 127);
}

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  const Handle handle(curl_url(), curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK) return NoAddress(text);
  return Read(handle.get(), text);
}

absl::StatusOr<Url> ResolveUrl(const Url& base, absl::string_view location) {
  const Handle handle(curl_url(), curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, base.text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, std::string(location).c_str(), 0) != CURLUE_OK) {
    return NoAddress(location);
  }
  return Read(handle.get(), location);
}

std::string PercentEncode(absl::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || absl::StrContains("-._~", c) || (c == '/' && keep_slashes)) {
      encoded += c;
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

}  // namespace blazon::service::hub
