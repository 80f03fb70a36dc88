// Who may change something over HTTP. That a request did not come through a proxy is the router's
// business and was looked at before.
#pragma once

#include <string>

#include "shm/reader.h"
#include "shm/support/result.h"
#include "webui/http/request.h"

namespace lineq::pages {

// `Authorization: Bearer <what the file holds>`. The file is read each time: a new token needs no
// restart. kNotFound: there is no token to compare with; kInvalid: none or a wrong one was sent.
Status has_token(const http::Request& request, const std::string& token_file);

// A sentence for the log if others than its owner and group can read the token, or others than its
// owner can write it; empty if not, or if there is no file.
std::string loose_token_file(const std::string& token_file);

// The operator's calls carry no token. They come from a private network, straight, from a program:
// not from a browser (which says Origin or Sec-Fetch-Site), and not for a site behind HAProxy (a
// visitor's request comes from where a HAProxy is connected from, names a room's host, or brings a
// cookie). `reader` may be null.
Status is_operator(const http::Request& request, const shm::Reader* reader);

}  // namespace lineq::pages
