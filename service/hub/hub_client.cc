#include "service/hub/hub_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace blazon::service::hub {
namespace {

constexpr int kMaxRedirects = 5;
constexpr size_t kMaxListingBytes = 64 << 20;
constexpr char kRetryAfter[] = "blazon.hub/retry-after";

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// "bytes 100-299/300": the first byte and the length of all; false when it is no such header.
bool ParseContentRange(absl::string_view header, int64_t& first, int64_t& all) {
  if (!absl::ConsumePrefix(&header, "bytes ")) return false;
  const size_t dash = header.find('-'), slash = header.find('/');
  return dash != absl::string_view::npos && slash != absl::string_view::npos && dash < slash &&
         absl::SimpleAtoi(header.substr(0, dash), &first) && absl::SimpleAtoi(header.substr(slash + 1), &all);
}

absl::Status WrongSize(const HubFile& file, int64_t bytes) {
  return absl::DataLossError(absl::StrCat(file.name, " has ", file.bytes, " bytes in the hub's list, and ", bytes,
                                          " where it is kept; nothing of it is used"));
}

// Where the bytes of a good answer stand. kDataLoss: they are of another file.
absl::StatusOr<int64_t> CheckAnswer(const HttpResponse& response, const HubFile& file, int64_t wanted) {
  int64_t first = 0, all = 0;
  if (response.status == 206) {
    if (!ParseContentRange(response.Header("content-range"), first, all) || first != wanted) {
      return absl::DataLossError(absl::StrCat(file.name,
                                              ": the server answered with another part of the file than was "
                                              "asked for"));
    }
    if (all != file.bytes) return WrongSize(file, all);
    return first;
  }
  if (absl::SimpleAtoi(response.Header("content-length"), &all) && all != file.bytes) return WrongSize(file, all);
  return 0;
}

}  // namespace

std::chrono::seconds RetryAfter(const absl::Status& status) {
  int64_t seconds = 0;
  const auto payload = status.GetPayload(kRetryAfter);
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &seconds)) return {};
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, 3600));
}

HubClient::HubClient(Url endpoint, HubToken token, HttpClient* http)
    : endpoint_(std::move(endpoint)),
      token_(std::move(token)),
      sends_token_(!token_.value.empty() && (endpoint_.scheme == "https" || endpoint_.IsLoopback())),
      http_(http) {}

absl::StatusOr<HubClient> HubClient::Create(absl::string_view endpoint, HubToken token, HttpClient* http) {
  absl::StatusOr<Url> url = ParseUrl(absl::StripSuffix(endpoint, "/"));
  if (!url.ok()) return absl::InvalidArgumentError(absl::StrCat("the hub's address: ", url.status().message()));
  if (absl::StrContains(url->text, '?') || absl::StrContains(url->text, '#')) {
    return absl::InvalidArgumentError("the hub's address has no place for '?' or '#'");
  }
  absl::StripAsciiWhitespace(&token.value);
  if (!std::all_of(token.value.begin(), token.value.end(), [](char c) { return absl::ascii_isgraph(c); })) {
    return absl::InvalidArgumentError(absl::StrCat(token.place, " holds a character that no token has; copy it again"));
  }
  return HubClient(*std::move(url), std::move(token), http);
}

absl::StatusOr<HttpResponse> HubClient::Fetch(const std::string& path, int64_t range_start, const BodySink& sink) {
  absl::StatusOr<Url> url = ParseUrl(absl::StrCat(absl::StripSuffix(endpoint_.text, "/"), path));
  if (!url.ok()) return url.status();
  for (int redirects = 0; redirects <= kMaxRedirects; ++redirects) {
    HttpRequest request{url->text, {{"Accept-Encoding", "identity"}}};
    if (sends_token_ && url->Origin() == endpoint_.Origin()) {
      request.headers.emplace_back("Authorization", absl::StrCat("Bearer ", token_.value));
    }
    if (range_start > 0) request.headers.emplace_back("Range", absl::StrCat("bytes=", range_start, "-"));
    absl::StatusOr<HttpResponse> response =
        http_->Get(request, [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
          // Pages that come with redirects and errors are for people.
          return head.status == 200 || head.status == 206 ? sink(head, bytes) : absl::OkStatus();
        });
    if (!response.ok() || !IsRedirect(response->status)) return response;
    absl::StatusOr<Url> next = ResolveUrl(*url, response->Header("location"));
    if (!next.ok())
      return absl::DataLossError(absl::StrCat("a redirect of ", url->host, ": ", next.status().message()));
    if (url->scheme == "https" && next->scheme == "http") {
      return absl::FailedPreconditionError(
          absl::StrCat(url->host, " redirects from https to http on ", next->host, ", which is refused"));
    }
    *url = *std::move(next);
  }
  return absl::DataLossError(absl::StrCat(endpoint_.host, " redirects more than ", kMaxRedirects, " times"));
}

absl::Status HubClient::Explain(const HttpResponse& response, const ModelReference& reference, bool gated) const {
  const std::string model =
      absl::StrCat(endpoint_.text, absl::EndsWith(endpoint_.text, "/") ? "" : "/", reference.repository);
  const std::string code = response.Header("x-error-code");
  const int status = response.status;
  if (status == 408 || status == 429 || status >= 500) {
    absl::Status unavailable =
        absl::UnavailableError(status == 429 ? absl::StrCat(endpoint_.host, " has had too many requests (429)")
                                             : absl::StrCat(endpoint_.host, " has trouble of its own (", status, ")"));
    if (const std::string wait = response.Header("retry-after"); !wait.empty()) {
      unavailable.SetPayload(kRetryAfter, absl::Cord(wait));
    }
    return unavailable;
  }
  const std::string token =
      withholds_token() ? absl::StrCat("the token in ", token_.place, " is not sent over plain http to another machine")
      : token_.value.empty() ? absl::StrCat("there is no token in ", token_.place)
                             : absl::StrCat("the token in ", token_.place, " does not give access");
  if (code == "GatedRepo" || (gated && (status == 401 || status == 403))) {
    return absl::PermissionDeniedError(absl::StrCat(reference.repository, " is for those who accepted its terms, and ",
                                                    token, " (", status, "). Sign in, accept them at ", model,
                                                    " and set HF_TOKEN to a token of yours that may read it."));
  }
  if (code == "RevisionNotFound") {
    return absl::NotFoundError(absl::StrCat(reference.repository, " has no revision ", reference.revision, " (", status,
                                            "); see its branches and tags at ", model));
  }
  if (code == "EntryNotFound") {
    return absl::NotFoundError(absl::StrCat(reference.repository, " has no file ", reference.file, " at ",
                                            reference.revision, " (", status, ")"));
  }
  if (status == 401 || status == 403) {
    return absl::PermissionDeniedError(
        absl::StrCat(reference.repository, " does not exist at ", endpoint_.host, ", or is not open to you: ", token,
                     " (", status, "). Check the name; for a private model set HF_TOKEN to a token that may read it."));
  }
  if (status == 404) {
    return absl::NotFoundError(absl::StrCat("there is no ", reference.repository, " at ", reference.revision, " on ",
                                            endpoint_.host,
                                            " (404). Check name and revision; a private model needs a "
                                            "token in HF_TOKEN."));
  }
  return absl::UnknownError(absl::StrCat(endpoint_.host, " answered with status ", status, ". Check --endpoint."));
}

absl::StatusOr<HubModel> HubClient::GetModel(const ModelReference& reference) {
  std::string body;
  const std::string path = absl::StrCat("/api/models/", PercentEncode(reference.repository, true), "/revision/",
                                        PercentEncode(reference.revision, false), "?blobs=true");
  const absl::StatusOr<HttpResponse> response =
      Fetch(path, 0, [&](const HttpResponse&, absl::string_view bytes) -> absl::Status {
        if (bytes.size() > kMaxListingBytes - body.size()) {
          return absl::DataLossError("the hub's list of the model's files has more than 64 MiB");
        }
        body.append(bytes.data(), bytes.size());
        return absl::OkStatus();
      });
  if (!response.ok()) return response.status();
  if (response->status != 200) return Explain(*response, reference, false);
  return ParseModel(reference, body);
}

absl::Status HubClient::GetFile(const HubModel& model, const HubFile& file, int64_t offset, const FileSink& sink) {
  const std::string path = absl::StrCat("/", PercentEncode(model.repository, true), "/resolve/", model.commit, "/",
                                        PercentEncode(file.name, true));
  bool checked = false;
  int64_t at = 0;
  const absl::StatusOr<HttpResponse> response =
      Fetch(path, offset, [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
        if (!checked) {
          const absl::StatusOr<int64_t> start = CheckAnswer(head, file, offset);
          if (!start.ok()) return start.status();
          at = *start;
          checked = true;
        }
        absl::Status status = sink(at, bytes);
        at += static_cast<int64_t>(bytes.size());
        return status;
      });
  if (!response.ok()) return response.status();
  if (response->status == 200 || response->status == 206) {
    if (!checked) return CheckAnswer(*response, file, offset).status();  // an empty body
    return absl::OkStatus();
  }
  if (response->status == 416) {
    return absl::DataLossError(absl::StrCat(file.name, " has ", file.bytes, " bytes in the hub's list, and at most ",
                                            offset, " where it is kept"));
  }
  return Explain(*response, {model.repository, model.revision, file.name}, model.gated);
}

}  // namespace blazon::service::hub
