#include "retrieval/document_loader.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unicode/ucnv.h>
#include <unicode/ustring.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "retrieval/files.h"
#include "retrieval/format_loaders.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

struct Decoded {
  std::string text;
  std::string encoding;
};

// From `encoding` (a name ICU knows) to UTF-8; false when the bytes do not fit it or the name is unknown.
bool Convert(std::string_view bytes, const char* encoding, std::string& text) {
  UErrorCode error = U_ZERO_ERROR;
  UConverter* converter = ucnv_open(encoding, &error);
  if (U_FAILURE(error)) return false;
  const absl::Cleanup close_converter = [converter] { ucnv_close(converter); };
  ucnv_setToUCallBack(converter, UCNV_TO_U_CALLBACK_STOP, nullptr, nullptr, nullptr, &error);
  std::u16string wide(bytes.size() + 16, u'\0');
  int32_t length = ucnv_toUChars(converter, wide.data(), static_cast<int32_t>(wide.size()), bytes.data(),
                                 static_cast<int32_t>(bytes.size()), &error);
  if (U_FAILURE(error)) return false;
  text.resize(static_cast<size_t>(length) * 3 + 1);
  int32_t size = 0;
  u_strToUTF8(text.data(), static_cast<int32_t>(text.size()), &size, wide.data(), length, &error);
  if (U_FAILURE(error)) return false;
  text.resize(static_cast<size_t>(size));
  return true;
}

// The charset that an HTML page declares in its first kilobyte, lower case; empty when it declares none.
std::string DeclaredCharset(std::string_view bytes) {
  const std::string start = absl::AsciiStrToLower(std::string(bytes.substr(0, 1024)));
  const size_t found = start.find("charset=");
  if (found == std::string::npos) return "";
  size_t begin = found + 8;
  while (begin < start.size() && (start[begin] == '"' || start[begin] == '\'' || start[begin] == ' ')) ++begin;
  size_t end = begin;
  while (end < start.size() &&
         (absl::ascii_isalnum(static_cast<unsigned char>(start[end])) || start[end] == '-' || start[end] == '_'))
    ++end;
  return start.substr(begin, end - begin);
}

bool IsControl(unsigned char c) {
  return c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != '\v' && c != 0x1b;
}

absl::StatusOr<Decoded> Decode(DocumentFormat format, std::string_view bytes) {
  Decoded decoded;
  if (bytes.starts_with("\xef\xbb\xbf")) {
    bytes.remove_prefix(3);
    if (!IsValidUtf8(bytes)) return absl::InvalidArgumentError("it has the byte-order mark of UTF-8 and is not UTF-8");
    decoded = {std::string(bytes), "UTF-8"};
  } else if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) {
    decoded.encoding = bytes.starts_with("\xff\xfe") ? "UTF-16LE" : "UTF-16BE";
    if (bytes.size() % 2 != 0 || !Convert(bytes.substr(2), decoded.encoding.c_str(), decoded.text)) {
      return absl::InvalidArgumentError(
          absl::StrCat("it has the byte-order mark of ", decoded.encoding, " and is not ", decoded.encoding));
    }
  } else if (IsValidUtf8(bytes)) {
    decoded = {std::string(bytes), "UTF-8"};
  } else {
    if (std::any_of(bytes.begin(), bytes.end(), [](char c) { return IsControl(static_cast<unsigned char>(c)); })) {
      return absl::InvalidArgumentError("it is binary, not text");
    }
    const std::string declared = format == DocumentFormat::kHtml ? DeclaredCharset(bytes) : "";
    // The Web reads ISO-8859-1 as windows-1252 too.
    const bool assumed = declared.empty() || declared == "utf-8" || declared == "iso-8859-1";
    decoded.encoding = assumed ? "windows-1252" : declared;
    if (!Convert(bytes, decoded.encoding.c_str(), decoded.text)) {
      return absl::InvalidArgumentError(
          absl::StrCat("it is neither UTF-8 nor ", decoded.encoding, "; convert it to UTF-8"));
    }
  }
  const size_t nul = decoded.text.find('\0');
  if (nul != std::string::npos)
    return absl::InvalidArgumentError(absl::StrCat("it is binary, not text (a zero byte at ", nul, ")"));
  const auto controls = std::count_if(decoded.text.begin(), decoded.text.end(),
                                      [](char c) { return IsControl(static_cast<unsigned char>(c)); });
  if (static_cast<size_t>(controls) * 100 > decoded.text.size())
    return absl::InvalidArgumentError("it is binary, not text (full of control characters)");
  return decoded;
}

void UnifyLineEnds(std::string& text) {
  if (text.find('\r') == std::string::npos) return;
  size_t to = 0;
  for (size_t from = 0; from < text.size(); ++from) {
    if (text[from] != '\r') {
      text[to++] = text[from];
    } else {
      text[to++] = '\n';
      if (from + 1 < text.size() && text[from + 1] == '\n') ++from;
    }
  }
  text.resize(to);
}

// A first line that stands alone, short and without a full stop, is a title.
std::string TextTitle(std::string_view text) {
  constexpr size_t kLongest = 80;
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return "";
  const size_t end = std::min(text.find('\n', begin), text.size());
  const std::string_view line = StripWhitespace(text.substr(begin, end - begin));
  std::string_view next = text.substr(std::min(end + 1, text.size()));
  if (StripWhitespace(next).empty()) return "";
  next = StripWhitespace(next.substr(0, next.find('\n')));
  const bool underlined = next.size() > 2 && next.find_first_not_of("=-~*") == std::string_view::npos;
  if (line.size() > kLongest || (!next.empty() && !underlined) || line.ends_with(".") || line.ends_with(":")) return "";
  return std::string(line);
}

std::string FileTitle(std::string_view path) {
  std::string title = std::filesystem::path(std::string(path)).stem().string();
  std::replace(title.begin(), title.end(), '_', ' ');
  std::replace(title.begin(), title.end(), '-', ' ');
  return title;
}

}  // namespace

absl::StatusOr<DocumentFormat> FormatFromPath(const std::filesystem::path& path) {
  const std::string ending = absl::AsciiStrToLower(path.extension().string());
  for (const char* text : {".txt", ".text", ".log", ".rst", ".org", ".adoc", ".csv", ".tsv"}) {
    if (ending == text) return DocumentFormat::kText;
  }
  if (ending == ".md" || ending == ".markdown") return DocumentFormat::kMarkdown;
  if (ending == ".html" || ending == ".htm" || ending == ".xhtml") return DocumentFormat::kHtml;
  return absl::UnimplementedError(absl::StrCat(path.string(),
                                               ": files of this kind cannot be read; the kinds are .txt .text .log "
                                               ".rst .org .adoc .csv .tsv, .md .markdown, .html .htm .xhtml"));
}

std::string_view ParserVersion(DocumentFormat format) {
  switch (format) {
    case DocumentFormat::kText:
      return "text/1";
    case DocumentFormat::kMarkdown:
      return "markdown/1";
    case DocumentFormat::kHtml:
      return "html/1";
  }
  return "";
}

std::string ContentDigest(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

absl::StatusOr<Document> LoadDocument(DocumentFormat format, std::string_view bytes, std::string_view path,
                                      const LoaderLimits& limits) {
  const auto refuse = [path](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(path), " cannot be read: ", why));
  };
  if (bytes.size() > limits.max_bytes)
    return refuse(absl::StrCat("it has ", bytes.size(), " bytes; at most ", limits.max_bytes, " are allowed"));
  absl::StatusOr<Decoded> decoded = Decode(format, bytes);
  if (!decoded.ok()) return refuse(decoded.status().message());
  UnifyLineEnds(decoded->text);
  const std::string_view source = decoded->text;

  Document document;
  document.path = std::string(path);
  document.parser = std::string(ParserVersion(format));
  document.encoding = decoded->encoding;
  document.content_digest = ContentDigest(bytes);
  document.line_starts.push_back(0);
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\n') document.line_starts.push_back(i + 1);
  }
  absl::Status status;
  switch (format) {
    case DocumentFormat::kText:
      document.text = decoded->text;
      document.source_map.push_back({0, 0, source.size()});
      document.title = TextTitle(source);
      break;
    case DocumentFormat::kMarkdown:
      status = LoadMarkdown(source, limits, document);
      break;
    case DocumentFormat::kHtml:
      status = LoadHtml(source, limits, document);
      break;
  }
  if (!status.ok()) return refuse(status.message());
  if (StripWhitespace(document.text).empty()) return refuse("it holds no text");
  if (document.title.empty()) document.title = FileTitle(path);
  return document;
}

absl::StatusOr<std::string> ReadDocumentFile(const std::filesystem::path& file, const LoaderLimits& limits) {
  // O_NONBLOCK: a pipe without a writer must not hold us.
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return FileError("open", file, errno);
  const absl::Cleanup close_file = [descriptor] { close(descriptor); };
  struct stat information {};
  if (fstat(descriptor, &information) != 0) return FileError("examine", file, errno);
  if (!S_ISREG(information.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(file.string(), " is not a regular file"));
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(descriptor, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError("read", file, errno);
    if (count == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(count));
    if (bytes.size() > limits.max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.string(), " is larger than the ", limits.max_bytes, " bytes that a document may have"));
    }
  }
}

}  // namespace blazon::retrieval
