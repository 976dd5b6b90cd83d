const API_KEY = 'your-api-key';
const USER_ID = 'user123';
async function sendMessage(roomId, content) {
const response = await fetch(`https://your-chatapi.com/rooms/${roomId}/messages`, {
method: 'POST',
headers: {
'Content-Type': 'application/json',
'X-API-Key': API_KEY,
'X-User-Id': USER_ID
},
body: JSON.stringify({ content })
});
return response.json();
}
