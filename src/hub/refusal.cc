// The hub's refusals in clear words.
#include "formats/quote.h"
#include "hub/download.h"

namespace carat {
namespace {

std::string gated(const HubOptions& options, const std::string& model) {
  const std::string page =
      without_user(clean_endpoint(options.endpoint)) + "/" + model;
  if (options.token.empty()) {
    return "is gated: accept its terms at " + page +
           " and pull with an access token (HF_TOKEN)";
  }
  return "is gated, and the access token's account may not read it: accept "
         "its terms at " +
         page + ", or wait until access is granted";
}

}  // namespace

void throw_refusal(const HubOptions& options, const std::string& subject,
                   const std::string& model, const HttpRequest& request,
                   CURLcode result) {
  const ResponseHead& head = request.head();
  const std::string host = host_of(options.endpoint);
  const auto denied = [&](const std::string& why) {
    throw HubError(HubProblem::kDenied, subject + ": " + why);
  };
  const auto absent = [&](const std::string& why) {
    throw HubError(HubProblem::kNotFound, subject + ": " + why);
  };
  if (result == CURLE_HTTP_RETURNED_ERROR && !request.was_redirected_away()) {
    const int status = head.status;
    const std::string& code = head.error_code;
    if (code == "GatedRepo") denied(gated(options, model));
    if (code == "RevisionNotFound") absent(host + " has no such revision");
    if (code == "EntryNotFound") absent(host + " has no such file");
    if (code == "DisabledRepo") denied(host + " has disabled this model");
    if (status == 401 && !options.token.empty()) {
      denied(host +
             " does not accept the access token (HF_TOKEN, or the token file), "
             "or has no such model");
    }
    if (status == 401) {
      denied(host +
             " has no such model, or it is private or gated: then it takes an "
             "access token (HF_TOKEN)");
    }
    if (status == 403) {
      denied(
          host + " forbids it" +
          (options.token.empty()
               ? std::string(" without an access token (HF_TOKEN)")
               : std::string(" to the access token's account")) +
          (head.error_message.empty() ? "" : ": " + quote(head.error_message)));
    }
    if (status == 404) absent(host + " has no such model");
  }
  if (result == CURLE_TOO_MANY_REDIRECTS) {
    throw HubError(HubProblem::kProtocol,
                   subject + ": " + host + " redirects in circles");
  }
  if (result == CURLE_UNSUPPORTED_PROTOCOL) {
    throw HubError(HubProblem::kProtocol,
                   subject + ": " + host +
                       " redirects to an address that is not allowed: " +
                       request.problem(result));
  }
  throw HubError(HubProblem::kNetwork,
                 subject + ": " + host + ": " + request.problem(result));
}

}  // namespace carat
