"""The console: server-rendered pages at /console for the people of a plant.

Pages read through the services. What changes something goes to the JSON API, with the session's cookie: see send.js.
"""
