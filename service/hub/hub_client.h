// A model hub by its public HTTP interface (that of Hugging Face): what a model consists of, and its files' bytes.
//
// The token goes to the hub's own origin (scheme, host and port) and nowhere else: not to the host that a redirect
// names, and not over plain http unless the hub is on this machine. Redirects from https to http are refused.
//
// Thread safety: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "service/hub/http_client.h"
#include "service/hub/repository.h"
#include "service/hub/token.h"
#include "service/hub/url.h"

namespace blazon::service::hub {

class HubClient {
 public:
  // http must outlive the client.
  // kInvalidArgument: the endpoint is no address, or the token cannot stand in a header.
  static absl::StatusOr<HubClient> Create(absl::string_view endpoint, HubToken token, HttpClient* http);

  // The same over another connection, for another thread.
  HubClient Over(HttpClient* http) const { return HubClient(endpoint_, token_, http); }

  const Url& endpoint() const { return endpoint_; }
  // There is a token, and it stays here because the hub is spoken to over plain http on another machine.
  bool withholds_token() const { return !token_.value.empty() && !sends_token_; }

  // kNotFound, kPermissionDenied: the message says what may be wrong and the remedy. kUnavailable: trying again may
  // help (see RetryAfter). kDataLoss: the answer is not a hub's.
  absl::StatusOr<HubModel> GetModel(const ModelReference& reference);

  // The bytes of `file` at the model's commit from `offset` on. `sink` gets the offset at which its bytes stand: 0
  // where the server does not continue. It may have had a part of them when this returns an error. kDataLoss: the
  // server has a file of another size or digest. Otherwise as GetModel.
  using FileSink = std::function<absl::Status(int64_t offset, absl::string_view bytes)>;
  absl::Status GetFile(const HubModel& model, const HubFile& file, int64_t offset, const FileSink& sink);

 private:
  HubClient(Url endpoint, HubToken token, HttpClient* http);
  // Follows redirects; `sink` gets the body of the last answer. range_start: 0 for the whole.
  absl::StatusOr<HttpResponse> Fetch(const std::string& path, int64_t range_start, const BodySink& sink);
  absl::Status Explain(const HttpResponse& response, const ModelReference& reference, bool gated) const;

  Url endpoint_;
  HubToken token_;
  bool sends_token_;
  HttpClient* http_;
};

// How long the server asked to be left alone, in a status that a HubClient returned; 0: it did not say.
std::chrono::seconds RetryAfter(const absl::Status& status);

}  // namespace blazon::service::hub
