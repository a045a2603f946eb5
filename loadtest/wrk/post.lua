-- Requests with a body of BODY bytes.
wrk.method = "POST"
wrk.body = string.rep("x", tonumber(os.getenv("BODY")))
