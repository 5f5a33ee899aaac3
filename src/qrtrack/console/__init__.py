"""The console: server-rendered pages at /console for the people of a plant.

A page reads its data through the services. Its scripts send changes to the JSON API with the session's cookie: see
send.js.
"""
