// What the hub needs of HTTP: one GET at a time, no redirect followed. Behind an interface, so that who asks for what
// with which headers is decided, and tested, in one place (hub_client.h).
//
// Thread safety: one thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blazon::service::hub {

struct HttpRequest {
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of a repeated one the last

  // "" where there is no such header.
  std::string Header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

// Gets the body piece by piece, after status and headers. An error ends the transfer, and Get returns it.
using BodySink = std::function<absl::Status(const HttpResponse&, absl::string_view)>;

class HttpClient {
 public:
  virtual ~HttpClient() = default;

  // Any status that a server gives is a response. After an error the sink may have had a part of the body.
  // kUnavailable: no connection, or one that was cut or stood still; trying again may help. kCancelled: interrupted.
  // kFailedPrecondition: the host's certificate is not trusted. The message names the host.
  virtual absl::StatusOr<HttpResponse> Get(const HttpRequest& request, const BodySink& sink) = 0;
};

// By libcurl: http and https, connections kept, certificates checked, the proxies of the environment (https_proxy,
// no_proxy) except for loopback. A connection must come about within 15 seconds; then at least one byte must come
// within any `stall_seconds`. `interrupted` is asked at least once a second.
std::unique_ptr<HttpClient> MakeCurlClient(std::function<bool()> interrupted, int stall_seconds = 30);

}  // namespace blazon::service::hub
