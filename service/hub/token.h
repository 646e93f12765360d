// The token that the hub knows its user by, from where the hub's Python client has it.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace blazon::service::hub {

struct HubToken {
  std::string value;  // "": there is none
  // Where it stands, for messages: "HF_TOKEN", or the path of a file. Of none: all places that were looked at.
  std::string place = "HF_TOKEN";
};

// HF_TOKEN, else HUGGING_FACE_HUB_TOKEN, else the file that HF_TOKEN_PATH names, else the file `token` in HF_HOME,
// XDG_CACHE_HOME/huggingface or ~/.cache/huggingface, the first of these three that is set; as `get` reads the
// environment (std::getenv). A variable that is set to nothing counts as not set; white space around a token does not
// count. A missing or empty file is no token. With HF_HUB_DISABLE_IMPLICIT_TOKEN set (to anything but 0, false, no or
// off) there is none.
// (huggingface_hub, "Environment variables" and utils/_auth.py.)
// kFailedPrecondition: the file is there and cannot be read, or it is larger than a token may be; the message names it.
absl::StatusOr<HubToken> FindToken(const std::function<const char*(const char*)>& get);

}  // namespace blazon::service::hub
