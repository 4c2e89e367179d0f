// The engines behind recognizer.h and speaker.h; what they share with servers of other programs.
#pragma once

#include "base/http_client.h"
#include "voice/recognizer.h"
#include "voice/speaker.h"

namespace onebit::voice {

Result<std::unique_ptr<Recognizer>> make_pocketsphinx(const RecognizerOptions& options);
Result<std::unique_ptr<Recognizer>> make_http_recognizer(const RecognizerOptions& options);

Result<std::unique_ptr<Speaker>> make_flite(const SpeakerOptions& options);
Result<std::unique_ptr<Speaker>> make_process_speaker(const SpeakerOptions& options);
Result<std::unique_ptr<Speaker>> make_http_speaker(const SpeakerOptions& options);

/// A client for `url`, and the path to post to: the URL's own, or `usual` where it has none.
struct Endpoint {
  HttpClient client;
  std::string path;  // after the client's prefix
};
Result<Endpoint> open_endpoint(const std::string& url, const std::string& key, std::chrono::milliseconds timeout,
                               const std::string& usual);

/// What an answer of another status than 200 says, as an error.
tl::unexpected<Error> refused(const std::string& url, const HttpReply& reply);

}  // namespace onebit::voice
