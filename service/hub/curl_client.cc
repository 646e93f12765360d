#include <curl/curl.h>

#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "service/hub/http_client.h"
#include "service/hub/url.h"

namespace blazon::service::hub {
namespace {

constexpr long kConnectSeconds = 15;
constexpr size_t kMaxHeaderBytes = 256 << 10;  // of one response, all together

// One transfer, as libcurl's callbacks see it.
struct Transfer {
  HttpResponse response;
  const BodySink* sink = nullptr;
  const std::function<bool()>* interrupted = nullptr;
  size_t header_bytes = 0;
  bool was_interrupted = false;
  CURL* handle = nullptr;
  absl::Status status;  // what the sink, or a check of ours, ended it with
};

// One line of the head. "HTTP/1.1 200 OK" begins one; there are several where a proxy or "100 Continue" comes first.
size_t OnHeader(const char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const absl::string_view line(data, size);
  if (absl::StartsWith(line, "HTTP/")) transfer.response = {};
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.status = absl::DataLossError("the server's answer has more than 256 KiB of headers");
    return 0;
  }
  if (const size_t colon = line.find(':'); colon != absl::string_view::npos) {
    transfer.response.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return size;
}

int StatusCode(CURL* handle) {
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

size_t OnBody(const char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.response.status = StatusCode(transfer.handle);
  transfer.status = (*transfer.sink)(transfer.response, {data, size});
  return transfer.status.ok() ? size : 0;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.was_interrupted = *transfer.interrupted && (*transfer.interrupted)();
  return transfer.was_interrupted ? 1 : 0;
}

class CurlClient : public HttpClient {
 public:
  CurlClient(std::function<bool()> interrupted, int stall_seconds)
      : interrupted_(std::move(interrupted)), stall_seconds_(stall_seconds) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    handle_ = curl_easy_init();
  }
  ~CurlClient() override { curl_easy_cleanup(handle_); }
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;

  absl::StatusOr<HttpResponse> Get(const HttpRequest& request, const BodySink& sink) override {
    if (handle_ == nullptr) return absl::InternalError("libcurl could not be started");
    const absl::StatusOr<Url> url = ParseUrl(request.url);
    if (!url.ok()) return url.status();
    Transfer transfer;
    transfer.sink = &sink;
    transfer.interrupted = &interrupted_;
    transfer.handle = handle_;
    curl_slist* headers = nullptr;
    for (const auto& [name, value] : request.headers) {
      headers = curl_slist_append(headers, absl::StrCat(name, ": ", value).c_str());
    }
    curl_easy_reset(handle_);
    curl_easy_setopt(handle_, CURLOPT_URL, url->text.c_str());
    curl_easy_setopt(handle_, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle_, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle_, CURLOPT_USERAGENT, "blazon/" BLAZON_VERSION);
    curl_easy_setopt(handle_, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(handle_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(handle_, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall_seconds_));
    if (url->IsLoopback()) curl_easy_setopt(handle_, CURLOPT_PROXY, "");
    curl_easy_setopt(handle_, CURLOPT_HEADERFUNCTION, &OnHeader);
    curl_easy_setopt(handle_, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(handle_, CURLOPT_WRITEFUNCTION, &OnBody);
    curl_easy_setopt(handle_, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(handle_, CURLOPT_XFERINFOFUNCTION, &OnProgress);
    curl_easy_setopt(handle_, CURLOPT_XFERINFODATA, &transfer);
    curl_easy_setopt(handle_, CURLOPT_NOPROGRESS, 0L);
    const CURLcode code = curl_easy_perform(handle_);
    curl_slist_free_all(headers);
    if (!transfer.status.ok()) return transfer.status;
    if (transfer.was_interrupted) return absl::CancelledError("stopped");
    if (code != CURLE_OK) return Error(code, *url);
    transfer.response.status = StatusCode(handle_);
    return std::move(transfer.response);
  }

 private:
  absl::Status Error(CURLcode code, const Url& url) const {
    const std::string host = absl::StrCat(url.host, " (port ", url.port, ")");
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
        return absl::UnavailableError(absl::StrCat("no address is known for ", url.host, "; check name and network"));
      case CURLE_COULDNT_RESOLVE_PROXY:
        return absl::FailedPreconditionError(
            "no address is known for the proxy that the environment names (https_proxy, all_proxy)");
      case CURLE_COULDNT_CONNECT:
        return absl::UnavailableError(absl::StrCat("no connection to ", host, "; check address and network"));
      case CURLE_OPERATION_TIMEDOUT:
        return absl::UnavailableError(
            absl::StrCat(host, " did not answer, or stopped sending for ", stall_seconds_, " s"));
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_GOT_NOTHING:
      case CURLE_SEND_ERROR:
      case CURLE_HTTP2:
      case CURLE_HTTP2_STREAM:
        return absl::UnavailableError(absl::StrCat(host, " cut the connection"));
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
      case CURLE_SSL_CONNECT_ERROR:
        return absl::FailedPreconditionError(absl::StrCat("no trusted connection to ", host,
                                                          ": its certificate does not bear it out. Install the Debian "
                                                          "package ca-certificates, or check --endpoint."));
      case CURLE_OUT_OF_MEMORY:
        return absl::ResourceExhaustedError("out of memory");
      default:
        return absl::UnavailableError(absl::StrCat("the transfer from ", host, " failed (libcurl's code ", code, ")"));
    }
  }

  std::function<bool()> interrupted_;
  int stall_seconds_;
  CURL* handle_;
};

}  // namespace

std::unique_ptr<HttpClient> MakeCurlClient(std::function<bool()> interrupted, int stall_seconds) {
  return std::make_unique<CurlClient>(std::move(interrupted), stall_seconds);
}

}  // namespace blazon::service::hub
