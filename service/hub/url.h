// Addresses, read by libcurl's own parser: what is judged here is what a connection is then made to.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blazon::service::hub {

struct Url {
  std::string text;    // the whole
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address in brackets
  std::string port;    // always there: the scheme's own when none is written

  // The part that decides who gets a secret: "https://host:443".
  std::string Origin() const;
  // localhost, 127.0.0.0/8 and ::1.
  bool IsLoopback() const;
};

// kInvalidArgument: no address, neither http nor https, or with a user's name in it.
absl::StatusOr<Url> ParseUrl(absl::string_view text);

// `location` of a redirect: absolute, or relative to `base`.
absl::StatusOr<Url> ResolveUrl(const Url& base, absl::string_view location);

// Percent-encodes all but letters, digits, '-', '.', '_', '~' and, where `keep_slashes` is set, '/'.
std::string PercentEncode(absl::string_view text, bool keep_slashes);

}  // namespace blazon::service::hub
